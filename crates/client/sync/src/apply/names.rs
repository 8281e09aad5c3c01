//! Names that a store takes for others. One that keeps objects as files may store `a\b` as
//! `a/b`, and no condition notices: it would write over that file, and the name itself would
//! look deleted.

use bucket::{Body, Bucket, Condition, Key, ListRequest, PutOptions};
use tokio::sync::OnceCell;

use super::Work;
use crate::error::Result;
use crate::path::TreePath;
use crate::plan::Act;

/// What was found out about a store's names in a pass.
#[derive(Default)]
pub(crate) struct Names {
    backslash: OnceCell<bool>,
}

impl Work<'_> {
    /// Why the store cannot have an object of the name that an action would give it.
    pub(crate) async fn unfit_there(&self, path: &TreePath, act: &Act) -> Result<Option<String>> {
        let gives_name = matches!(
            act,
            Act::Upload { over: None, .. } | Act::MoveRemote { .. } | Act::PutMarker
        );
        if !gives_name || !path.as_str().contains('\\') {
            return Ok(None);
        }
        let place = format!("trash/{}/back", self.pass.name);
        let Some((prefix, key)) = self
            .sides
            .keys
            .hidden(&place)
            .zip(self.sides.keys.hidden(&format!("{place}\\slash")))
        else {
            return Ok(None);
        };
        let asked = || tells_apart(&*self.sides.bucket, &prefix, &key);
        let names = &self.transfers.names;
        let tells_apart = *names.backslash.get_or_try_init(asked).await?;
        Ok((!tells_apart).then(|| {
            "this store takes a backslash for a slash, so it cannot have an object of this name; \
             rename the file"
                .to_owned()
        }))
    }
}

/// Puts an object of such a name where only ours are, and looks under which name it is listed.
async fn tells_apart(bucket: &dyn Bucket, prefix: &Key, key: &Key) -> bucket::Result<bool> {
    let empty = Body::Bytes(bytes::Bytes::new());
    bucket.put(key, empty, PutOptions::default()).await?;
    let request = ListRequest {
        prefix: prefix.as_str().to_owned(),
        ..ListRequest::default()
    };
    let page = bucket.list(&request).await?;
    bucket.delete(key, Condition::None).await?;
    Ok(page.objects.iter().any(|object| object.key == *key))
}
