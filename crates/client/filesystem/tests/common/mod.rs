//! A workspace on a bucket in memory, driven as a kernel would.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bucket::memory::MemoryBucket;
use bucket::probe::Capabilities;
use bucket::{Body, Bucket, GetOptions, Key, PutOptions};
use filesystem::{
    Change, Entry, Filesystem, FsError, Gone, Ino, OpenMode, Owner, ROOT, Settings, Watcher,
};
use model::Profile;

pub const OWNER: Owner = Owner { uid: 0, gid: 0 };
pub const READ: OpenMode = OpenMode {
    read: true,
    write: false,
    truncate: false,
};
pub const WRITE: OpenMode = OpenMode {
    read: true,
    write: true,
    truncate: false,
};
pub const CUT: OpenMode = OpenMode {
    read: true,
    write: true,
    truncate: true,
};

pub struct Deaf;

impl Watcher for Deaf {
    fn changed(&self, _: Ino, _: Change) {}
    fn appeared(&self, _: Ino, _: &str) {}
    fn removed(&self, _: Gone) {}
    fn unneeded(&self, _: Ino, _: &str) {}
}

pub fn all() -> Capabilities {
    Capabilities {
        writable: true,
        put_if_absent: true,
        put_if_match: true,
        delete_if_match: true,
        copy: true,
        copy_if_absent: true,
        versions: false,
    }
}

/// Quick settings: uploads at once, others' changes within 50 ms.
pub fn settings(folder: &Path, machine: &str) -> Settings {
    let mut settings = Settings::new(
        Profile::Balanced,
        folder.join(machine).join("cache"),
        folder.join(machine).join("state"),
        all(),
    );
    settings.upload_delay = Duration::from_millis(5);
    settings.attr_ttl = Duration::from_millis(50);
    settings.uid = 0;
    settings.gid = 0;
    settings.host = machine.to_owned();
    settings
}

pub struct Machine {
    pub fs: Filesystem,
}

pub async fn machine(bucket: &Arc<dyn Bucket>, settings: Settings) -> Machine {
    let fs = Filesystem::open(Arc::clone(bucket), settings, Arc::new(Deaf))
        .await
        .unwrap();
    Machine { fs }
}

impl Machine {
    pub async fn walk(&self, path: &str) -> Result<Entry, FsError> {
        let mut entry = self.fs.getattr(ROOT).await?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            entry = self.fs.lookup(entry.attr.ino, name).await?;
        }
        Ok(entry)
    }

    async fn parent<'p>(&self, path: &'p str) -> Result<(Ino, &'p str), FsError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.walk(folder).await?.attr.ino, name))
    }

    pub async fn mkdir(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.parent(path).await?;
        self.fs.mkdir(parent, name, 0o755, OWNER).await.map(|_| ())
    }

    /// Creates or overwrites, as `echo > file` does.
    pub async fn write(&self, path: &str, content: &[u8]) -> Result<(), FsError> {
        let (parent, name) = self.parent(path).await?;
        let opened = match self.fs.lookup(parent, name).await {
            Ok(entry) => self.fs.open_file(entry.attr.ino, CUT).await?,
            Err(FsError::NotFound) => self.fs.create(parent, name, 0o644, OWNER, WRITE).await?.1,
            Err(error) => return Err(error),
        };
        if !content.is_empty() {
            self.fs.write(opened.handle, 0, content).await?;
        }
        self.fs.flush(opened.handle).await?;
        self.fs.release(opened.handle).await;
        Ok(())
    }

    pub async fn append(&self, path: &str, content: &[u8]) -> Result<(), FsError> {
        let entry = self.walk(path).await?;
        let opened = self.fs.open_file(entry.attr.ino, WRITE).await?;
        let size = self.fs.getattr(entry.attr.ino).await?.attr.size;
        self.fs.write(opened.handle, size, content).await?;
        self.fs.release(opened.handle).await;
        Ok(())
    }

    pub async fn read(&self, path: &str) -> Result<Vec<u8>, FsError> {
        let entry = self.walk(path).await?;
        let opened = self.fs.open_file(entry.attr.ino, READ).await?;
        let mut content = Vec::new();
        let result = loop {
            match self
                .fs
                .read(opened.handle, content.len() as u64, 128 << 10)
                .await
            {
                Ok(bytes) if bytes.is_empty() => break Ok(content),
                Ok(bytes) => content.extend_from_slice(&bytes),
                Err(error) => break Err(error),
            }
        };
        self.fs.release(opened.handle).await;
        result
    }

    pub async fn unlink(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.parent(path).await?;
        self.fs.unlink(parent, name).await
    }

    pub async fn rmdir(&self, path: &str) -> Result<(), FsError> {
        let (parent, name) = self.parent(path).await?;
        self.fs.rmdir(parent, name).await
    }

    pub async fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let (parent, name) = self.parent(from).await?;
        let (new_parent, new_name) = self.parent(to).await?;
        self.fs
            .rename(
                parent,
                name,
                new_parent,
                new_name,
                filesystem::RenameMode::Replace,
            )
            .await
    }

    /// Names in a directory, without `.` and `..`, sorted.
    pub async fn names(&self, path: &str) -> Result<Vec<String>, FsError> {
        let handle = self.fs.opendir(self.walk(path).await?.attr.ino).await?;
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            let entries = self.fs.readdir(handle, offset, 7).await?;
            let Some(last) = entries.last() else { break };
            offset = last.next;
            names.extend(
                entries
                    .into_iter()
                    .map(|entry| entry.name)
                    .filter(|name| name != "." && name != ".."),
            );
        }
        self.fs.releasedir(handle).await;
        names.sort();
        Ok(names)
    }

    /// Inode numbers of a directory's entries, in reading order.
    pub async fn inos(&self, path: &str) -> Vec<Ino> {
        let handle = self
            .fs
            .opendir(self.walk(path).await.unwrap().attr.ino)
            .await
            .unwrap();
        let entries = self.fs.readdir(handle, 0, 10_000).await.unwrap();
        self.fs.releasedir(handle).await;
        entries
            .into_iter()
            .skip(2)
            .map(|entry| entry.entry.attr.ino)
            .collect()
    }

    pub async fn drain(&self) -> filesystem::Status {
        let status = self.fs.drain(Duration::from_secs(5), |_| {}).await;
        assert_eq!(status.pending_changes, 0, "{:?}", status.last_error);
        status
    }
}

pub async fn put(bucket: &dyn Bucket, key: &str, body: &str) {
    let key = Key::new(key).unwrap();
    bucket
        .put(
            &key,
            Body::Bytes(body.to_owned().into()),
            PutOptions::default(),
        )
        .await
        .unwrap();
}

pub async fn get(bucket: &dyn Bucket, key: &str) -> Option<String> {
    let object = bucket
        .get(&Key::new(key).unwrap(), GetOptions::default())
        .await
        .ok()?;
    let bytes = bucket::collect(object.body).await.unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

/// Keys and bodies, without what is ours.
pub fn visible(memory: &MemoryBucket) -> Vec<(String, String)> {
    memory
        .contents()
        .into_iter()
        .filter(|(key, _)| !key.starts_with(".artifacts/"))
        .map(|(key, body)| (key, String::from_utf8_lossy(&body).into_owned()))
        .collect()
}

pub fn memory() -> (MemoryBucket, Arc<dyn Bucket>) {
    let memory = MemoryBucket::new();
    let bucket: Arc<dyn Bucket> = Arc::new(memory.clone());
    (memory, bucket)
}

/// Long enough for another machine's change to be seen.
pub async fn a_while() {
    tokio::time::sleep(Duration::from_millis(70)).await;
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
