//! What was anchored of an operator's audit; read without a wallet.

use alloy_primitives::{U256, hex};
use alloy_sol_types::SolCall;
use model::Actor;
use registry::chain::abi::CredentialAudit;
use registry::chain::{Call, Rpc, RpcUrl, actor_word, bytes};
use serde_json::json;

use super::{Address, ChainPlace, PATIENCE};
use crate::{RegistrarError, Result};

/// That an audit had so many records, of which the last one had this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// How many records.
    pub records: u64,
    /// The last one's hash.
    pub head: [u8; 32],
    /// When that was anchored, in seconds since 1970: its block's time.
    pub at: u64,
}

/// So many are asked for at once: RPCs bound the calls in one exchange.
const AT_ONCE: usize = 50;
/// Of more than these nobody keeps a list: one a day is 273 years.
const MOST: usize = 100_000;

/// The anchors of an operator, from the first on, each of more records than the one before.
///
/// Every RPC is asked. One that does not answer is done without as long as another does; one
/// that keeps newer anchors back is found out by the other.
///
/// # Errors
/// None answers, or two contradict each other, or there is no contract for it.
pub async fn anchors(place: &ChainPlace, operator: &Actor) -> Result<Vec<Anchor>> {
    let contract = place.audit_contract()?;
    let mut longest: Option<Vec<Anchor>> = None;
    let mut silent = None;
    for rpc in &place.rpc {
        match of_one(place, contract, operator, rpc).await {
            Ok(told) => longest = Some(agreed(longest, told)?),
            Err(error) => silent = Some(error),
        }
    }
    match (longest, silent) {
        (Some(anchors), _) => Ok(anchors),
        (None, Some(error)) => Err(error),
        (None, None) => Err(RegistrarError::Chain("give an RPC".into())),
    }
}

/// One may be some blocks behind the other, and no more: anchors are only added.
fn agreed(before: Option<Vec<Anchor>>, told: Vec<Anchor>) -> Result<Vec<Anchor>> {
    let Some(before) = before else {
        return Ok(told);
    };
    let (short, long) = match before.len() <= told.len() {
        true => (before, told),
        false => (told, before),
    };
    if !long.starts_with(&short) {
        let text = "the two RPCs contradict each other about what was anchored\n\
                    hint: ask a third one who is right, and put another in the place of the wrong one";
        return Err(RegistrarError::Chain(text.into()));
    }
    Ok(long)
}

async fn of_one(
    place: &ChainPlace,
    contract: Address,
    operator: &Actor,
    rpc: &RpcUrl,
) -> Result<Vec<Anchor>> {
    let rpc = Rpc::new(vec![rpc.clone()], place.chain_id, PATIENCE)?;
    let operator = actor_word(operator);
    let count = CredentialAudit::anchorCountCall { operator };
    let count = ask(&rpc, contract, &[count]).await?;
    let count = count.first().and_then(|count| usize::try_from(*count).ok());
    let count = count.filter(|count| *count <= MOST);
    let count = count.ok_or_else(|| {
        let text = format!(
            "the RPC answers no number of anchors up to {MOST}, the most that are read\nhint: use another RPC"
        );
        RegistrarError::Chain(text)
    })?;
    let mut anchors = Vec::new();
    while anchors.len() < count {
        let part = anchors.len()..count.min(anchors.len() + AT_ONCE);
        let calls = part.map(|index| CredentialAudit::anchorAtCall {
            operator,
            index: U256::from(index),
        });
        let told = ask(&rpc, contract, &calls.collect::<Vec<_>>()).await?;
        anchors.extend(told.into_iter().map(|anchor| Anchor {
            records: anchor.count,
            head: anchor.root.0,
            at: anchor.anchoredAt,
        }));
    }
    if !anchors.is_sorted_by(|a, b| a.records < b.records) {
        let text = format!(
            "the RPC answers anchors at {contract} that no contract keeps\nhint: use another RPC"
        );
        return Err(RegistrarError::Chain(text));
    }
    Ok(anchors)
}

async fn ask<C: SolCall>(rpc: &Rpc, to: Address, calls: &[C]) -> Result<Vec<C::Return>> {
    let to = hex::encode_prefixed(to);
    let asked: Vec<Call> = calls
        .iter()
        .map(|call| {
            let data = hex::encode_prefixed(call.abi_encode());
            Call::new("eth_call", json!([{ "to": to, "data": data }, "latest"]))
        })
        .collect();
    let told = rpc.round(&asked, rpc.deadline()).await?;
    let read = |value| {
        let bytes = bytes(value).unwrap_or_default();
        C::abi_decode_returns_validate(&bytes).map_err(|e| super::other_answer(&to, &e))
    };
    told.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(records: u64) -> Anchor {
        Anchor {
            records,
            head: [7; 32],
            at: 1,
        }
    }

    #[test]
    fn of_two_that_agree_the_longer_is_taken() {
        let one = vec![anchor(1)];
        let two = vec![anchor(1), anchor(2)];
        for (first, second) in [(&one, &two), (&two, &one)] {
            let taken = agreed(Some(first.clone()), second.clone()).expect("agreed");
            assert_eq!(taken, two);
        }
        let other = vec![anchor(2), anchor(3)];
        let refused = agreed(Some(one), other).expect_err("another first one");
        assert!(refused.to_string().contains("contradict"), "{refused}");
    }
}
