//! Many paths, one after the other.

use super::Rules;
use crate::path::TreePath;

/// Judges paths. What was found out of a directory counts for all that follow below it, so
/// paths in their order cost little.
pub(crate) struct Sieve<'r> {
    rules: &'r Rules,
    /// The path before.
    last: String,
    /// The directories above it: the length of each one's path, and whether it is left out.
    above: Vec<(usize, bool)>,
}

impl<'r> Sieve<'r> {
    pub(crate) fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            last: String::new(),
            above: Vec::new(),
        }
    }

    /// Whether a path is left out, itself or by a directory above.
    pub(crate) fn leaves_out(&mut self, path: &TreePath, is_directory: bool) -> bool {
        self.leaves_out_text(path.as_str(), is_directory)
    }

    /// The same of a path as text.
    pub(crate) fn leaves_out_text(&mut self, path: &str, is_directory: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        self.enter(path);
        let below = self.above.last().is_some_and(|(_, out)| *out);
        below || self.is_out(path, is_directory)
    }

    /// Makes the directories above a path those that are known.
    fn enter(&mut self, path: &str) {
        let shared = |end: usize| {
            path.as_bytes().get(end) == Some(&b'/') && path.get(..end) == self.last.get(..end)
        };
        let kept = self
            .above
            .iter()
            .take_while(|(end, _)| shared(*end))
            .count();
        self.above.truncate(kept);
        let known = self.above.last().map_or(0, |(end, _)| end + 1);
        let more = path.bytes().enumerate().skip(known);
        for (end, _) in more.filter(|(_, byte)| *byte == b'/') {
            let below = self.above.last().is_some_and(|(_, out)| *out);
            let out = below || self.is_out(&path[..end], true);
            self.above.push((end, out));
        }
        path.clone_into(&mut self.last);
    }

    fn is_out(&self, path: &str, is_directory: bool) -> bool {
        let said = self.rules.decide(path, is_directory);
        said.is_some_and(|(_, ignored, _)| ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ignored::NAME;

    #[test]
    fn the_order_of_paths_changes_nothing() {
        let path = |text: &str| TreePath::parse(text).unwrap();
        let mut rules = Rules::default();
        let nested = path("d/.artifactsignore");
        rules.add(&path(NAME), "out/\n*.log\n!d/e/\n").unwrap();
        rules.add(&nested, "e/\n!a.log\n").unwrap();
        let texts = [
            "a.log",
            "d/a.log",
            "d/e/x",
            "d/ex/a.log",
            "d/e/f/g",
            "out/x",
            "outer",
            "d/out/y",
            "d",
            "é/b.log",
            "éa/c",
        ];
        let alone: Vec<bool> = texts
            .iter()
            .map(|t| rules.leaves_out(&path(t), false))
            .collect();
        assert_eq!(
            alone,
            [
                true, false, true, false, true, true, false, true, false, true, false
            ]
        );
        for turn in 0..texts.len() {
            let mut sieve = Sieve::new(&rules);
            for at in (0..texts.len()).map(|at| (at * 7 + turn) % texts.len()) {
                let out = sieve.leaves_out(&path(texts[at]), false);
                assert_eq!(out, alone[at], "{} in turn {turn}", texts[at]);
            }
        }
    }
}
