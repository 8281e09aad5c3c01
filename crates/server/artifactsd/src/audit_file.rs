//! Whether a role's audit is whole, as its command says it.

use std::io::{self, Write};
use std::path::Path;

use base::audit::{Verdict, verify};

/// Prints how many records there are and the last one's hash; an error where one was changed or is
/// missing. `hint` says where the file should be.
pub(crate) fn check(path: &Path, hint: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shown = path.display();
    let verdict = verify(path)
        .map_err(|error| format!("the audit {shown} cannot be read: {error}\nhint: {hint}"))?;
    match verdict {
        Verdict::Whole { records, head } => {
            let line = serde_json::json!({ "records": records, "head": head });
            Ok(writeln!(io::stdout(), "{line}")?)
        }
        Verdict::Broken { seq } => Err(format!(
            "record {seq} of {shown} was changed, or one before it is missing\nhint: compare with a copy; what stands before it is whole"
        )
        .into()),
    }
}
