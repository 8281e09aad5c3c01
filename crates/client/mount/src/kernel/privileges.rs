//! Set-user-id and set-group-id go when somebody else writes, or the owner changes. The
//! kernel leaves that to us (`FUSE_HANDLE_KILLPRIV_V2`), and asks us less often for it.

use filesystem::{Filesystem, FsError, Kind, SetAttr};
use fuser::INodeNo;

/// The change, with the set-user-id and set-group-id bits taken away where they are set.
pub(super) async fn privileges_dropped(
    tree: &Filesystem,
    ino: INodeNo,
    change: SetAttr,
) -> Result<SetAttr, FsError> {
    let attr = tree.getattr(ino.0).await?.attr;
    let left = without_privileges(attr.mode);
    let is_file = attr.kind == Kind::File;
    Ok(SetAttr {
        mode: (is_file && left != attr.mode).then_some(left),
        ..change
    })
}

/// Takes the bits away where they are set.
pub(super) async fn drop_privileges(tree: &Filesystem, ino: INodeNo) -> Result<(), FsError> {
    let change = privileges_dropped(tree, ino, SetAttr::default()).await?;
    if change.mode.is_some() {
        tree.setattr(ino.0, change).await?;
    }
    Ok(())
}

/// The mode that is left when somebody else than the owner writes, or the owner changes:
/// set-user-id goes, set-group-id goes where the group may execute (chown(2), write(2)).
fn without_privileges(mode: u32) -> u32 {
    let group = if mode & 0o010 != 0 { 0o2000 } else { 0 };
    mode & !(0o4000 | group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_go_as_the_manual_says() {
        assert_eq!(without_privileges(0o4755), 0o755);
        assert_eq!(without_privileges(0o6755), 0o755);
        assert_eq!(
            without_privileges(0o2644),
            0o2644,
            "mandatory locking, not set-group-id"
        );
        assert_eq!(without_privileges(0o1777), 0o1777);
    }
}
