//! Free ports on loopback.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;

/// Distance between a SeaweedFS HTTP port and the gRPC port that some of its parts derive
/// from it, whatever the flags say.
const GRPC_OFFSET: u16 = 10_000;

/// Where pairs are looked for. Both halves stay below 32768, where Linux begins to hand
/// out ephemeral ports, so that no outgoing connection takes one between the look and the
/// server's bind.
const FIRST: u16 = 10_240;
const LAST: u16 = 22_000;

/// One port that is free now, from the system's ephemeral range.
///
/// # Errors
/// The system's refusal to bind at all.
pub fn free() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("bind 127.0.0.1:0"))?;
    Ok(listener
        .local_addr()
        .map_err(Error::io("local address"))?
        .port())
}

/// `count` different ports `p` such that `p` and `p + 10000` are both free now.
///
/// # Errors
/// [`Error::NoPorts`] when the range is exhausted.
pub fn free_pairs(count: usize) -> Result<Vec<u16>, Error> {
    let mut found = Vec::with_capacity(count);
    let span = u32::from(LAST - FIRST);
    let start = seed() % span;
    for step in 0..span {
        if found.len() == count {
            break;
        }
        // `offset < span <= u16::MAX`, so the cast keeps the value.
        let offset = (start + step) % span;
        let port = FIRST + offset as u16;
        if is_free(port) && is_free(port + GRPC_OFFSET) {
            found.push(port);
        }
    }
    if found.len() == count {
        Ok(found)
    } else {
        Err(Error::NoPorts)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Another beginning for every call in every process, so that tests which start servers at
/// the same moment do not look at the same ports first.
fn seed() -> u32 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    std::process::id()
        .wrapping_mul(2_654_435_761)
        .wrapping_add(now.subsec_nanos())
        .wrapping_add(call.wrapping_mul(7_919))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_distinct_and_can_be_bound() {
        let ports = free_pairs(5).unwrap();
        let held: Vec<_> = ports
            .iter()
            .flat_map(|p| [*p, p + GRPC_OFFSET])
            .map(|p| TcpListener::bind(("127.0.0.1", p)).unwrap())
            .collect();
        assert_eq!(held.len(), 10);
    }
}
