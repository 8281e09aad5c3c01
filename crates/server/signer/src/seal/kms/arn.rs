//! Names of keys of AWS KMS.

use std::fmt;
use std::str::FromStr;

/// The name of one key, `arn:aws:kms:REGION:ACCOUNT:key/ID`. Never an alias's: who may change
/// what an alias stands for would choose the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn {
    text: String,
    /// Where the region is in it.
    region: std::ops::Range<usize>,
}

/// Why a text names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyArn {
    /// An alias.
    #[error(
        "that names an alias, which can be made to stand for another key\nhint: the key's own ARN (`aws kms describe-key --key-id alias/NAME` shows it)"
    )]
    Alias,
    /// Something else.
    #[error("that is no key's ARN\nhint: arn:aws:kms:REGION:ACCOUNT:key/ID")]
    Form,
    /// It is in one region alone.
    #[error(
        "the key is in the region {0} alone\nhint: only a multi-Region key (mrk-…) has replicas; leave --kms-region out"
    )]
    OneRegion(String),
    /// Not a region's name.
    #[error("that is no region's name\nhint: for example eu-central-1")]
    Region,
}

impl KeyArn {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region that it is in.
    pub fn region(&self) -> &str {
        &self.text[self.region.clone()]
    }

    /// The key's replica in another region.
    pub(super) fn replica_in(&self, region: &str) -> Result<Self, InvalidKeyArn> {
        if !self.text.contains(":key/mrk-") {
            return Err(InvalidKeyArn::OneRegion(self.region().to_owned()));
        }
        if !is_region(region) {
            return Err(InvalidKeyArn::Region);
        }
        let mut text = self.text.clone();
        text.replace_range(self.region.clone(), region);
        text.parse()
    }
}

impl FromStr for KeyArn {
    type Err = InvalidKeyArn;

    fn from_str(text: &str) -> Result<Self, InvalidKeyArn> {
        if text.starts_with("alias/") || text.contains(":alias/") {
            return Err(InvalidKeyArn::Alias);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "kms", region, account, key] = parts[..] else {
            return Err(InvalidKeyArn::Form);
        };
        let id = key.strip_prefix("key/").ok_or(InvalidKeyArn::Form)?;
        let good = (partition == "aws" || partition.starts_with("aws-"))
            && is_plain(partition, 30)
            && is_region(region)
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && is_plain(id, 128);
        if !good {
            return Err(InvalidKeyArn::Form);
        }
        let begin = "arn::kms:".len() + partition.len();
        Ok(Self {
            text: text.to_owned(),
            region: begin..begin + region.len(),
        })
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_region(text: &str) -> bool {
    is_plain(text, 40) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_plain(text: &str, longest: usize) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=longest).contains(&text.len()) && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn parsed(text: &str) -> Result<KeyArn, InvalidKeyArn> {
        text.parse()
    }

    #[test]
    fn a_key_is_named_whole_and_by_no_alias() {
        let one = parsed(&format!(
            "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{ID}"
        ));
        assert_eq!(one.unwrap().region(), "us-gov-west-1");
        for alias in [
            "alias/vault",
            "arn:aws:kms:eu-west-1:111122223333:alias/vault",
        ] {
            assert_eq!(parsed(alias), Err(InvalidKeyArn::Alias));
        }
        for wrong in [
            "",
            ID,
            "arn:aws:s3:eu-west-1:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:kms:evil.example/:111122223333:key/1",
            "arn:aws:kms:eu-west-1:11112222333:key/1",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key/a\nb",
            "arn:aws:kms:eu-west-1:111122223333:key/1:2",
            "arn:other:kms:eu-west-1:111122223333:key/1",
        ] {
            assert_eq!(parsed(wrong), Err(InvalidKeyArn::Form), "{wrong:?}");
        }
    }

    #[test]
    fn only_a_key_of_several_regions_has_replicas() {
        let single = parsed(&format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}")).unwrap();
        let refused = single.replica_in("eu-central-1");
        assert_eq!(refused, Err(InvalidKeyArn::OneRegion("eu-west-1".into())));
        let many = parsed("arn:aws:kms:eu-west-1:111122223333:key/mrk-12ab").unwrap();
        assert_eq!(
            many.replica_in("eu-central-1").unwrap().as_str(),
            "arn:aws:kms:eu-central-1:111122223333:key/mrk-12ab"
        );
        assert_eq!(many.replica_in("a/b"), Err(InvalidKeyArn::Region));
    }
}
