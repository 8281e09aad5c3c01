//! What users do to their folders.

use bytes::Bytes;
use sync::TreePath;

use super::{Inner, START, World};

/// Few names, so that users meet.
const NAMES: &[&str] = &["a", "b", "c", "d/a", "d/b", "d/e/a", "a/x", "f/y.md", "d"];

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

impl Inner {
    /// Content that nobody has written before; most of one size.
    fn content(&mut self) -> Bytes {
        self.written += 1;
        let pad = if self.dice.chance(20) {
            self.dice.below(9)
        } else {
            0
        };
        format!("{:06}{}", self.written, "+".repeat(pad)).into()
    }

    /// Somebody saw this, and it is not wanted any more.
    fn let_go(&mut self, content: Option<Bytes>) {
        if let Some(content) = content {
            self.alive.remove(&content);
        }
    }

    fn say(&mut self, text: String) {
        self.trace.push(text);
    }
}

impl World {
    /// One thing that a user does.
    pub(crate) fn user(&self, client: usize) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let folder = &self.clients[client].folder;
        let wait = *inner
            .dice
            .pick(&[0, 0, 1_000_000, 100_000_000, 5_000_000_000]);
        folder.wait(wait);
        let there: Vec<TreePath> = folder.files().into_keys().collect();
        let name = path(inner.dice.pick::<&str>(NAMES));
        let known = match there.is_empty() {
            true => name.clone(),
            false => inner.dice.pick(&there).clone(),
        };
        match inner.dice.below(20) {
            0..=6 => self.save(inner, client, &name),
            7..=9 => self.save(inner, client, &known),
            10..=12 => {
                if let Some(content) = folder.delete(&known) {
                    inner.say(format!("client {client} deletes {known} {content:?}"));
                    inner.let_go(Some(content));
                }
            }
            13..=15 => {
                if let Some(before) = folder.mv(&known, &name) {
                    inner.say(format!(
                        "client {client} moves {known} to {name} over {before:?}"
                    ));
                    inner.let_go(before);
                }
            }
            16 if folder.mkdir(&name) => {
                inner.say(format!("client {client} makes directory {name}"));
            }
            17 if folder.rmdir(&name) => {
                inner.say(format!("client {client} removes directory {name}"));
            }
            18 => self.copy(inner, client, &known, &name),
            19 => {
                let time = START + inner.dice.below(1_000) as i64 * 1_000_000_000;
                if folder.touch(&known, time) {
                    inner.say(format!("client {client} touches {known} {time}"));
                }
            }
            _ => {}
        }
    }

    fn save(&self, inner: &mut Inner, client: usize, path: &TreePath) {
        let content = inner.content();
        let folder = &self.clients[client].folder;
        let before = match inner.dice.chance(8) {
            true => folder.link(path, content.clone()),
            false => folder.write(path, content.clone()),
        };
        let Some(before) = before else {
            return;
        };
        inner.say(format!(
            "client {client} writes {path} {content:?} over {before:?}"
        ));
        inner.let_go(before);
        let origin = format!("{path} by client {client}");
        inner.alive.insert(content, origin);
    }

    /// The same bytes under another name: they live as long as nobody lets them go.
    fn copy(&self, inner: &mut Inner, client: usize, from: &TreePath, to: &TreePath) {
        let folder = &self.clients[client].folder;
        let Some((_, content)) = folder.files().get(from).cloned() else {
            return;
        };
        if from == to {
            return;
        }
        let Some(before) = folder.write(to, content.clone()) else {
            return;
        };
        inner.say(format!(
            "client {client} copies {from} to {to} over {before:?}"
        ));
        if before.as_ref() != Some(&content) {
            inner.let_go(before);
        }
    }
}
