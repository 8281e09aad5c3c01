//! Wildcards: `*` for any run of characters (also none, also `/` and `:`), `?` for one.

/// One place of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Glyph {
    /// This character and no other, whatever it is.
    Exactly(char),
    /// Any one character.
    One,
    /// Any run of characters.
    Run,
}

/// Whether a text fits a pattern.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<Glyph> = glyphs(pattern).collect();
    fits_glyphs(&pattern, text)
}

/// As [`fits`], without regard to the case of ASCII letters.
pub(super) fn fits_any_case(pattern: &str, text: &str) -> bool {
    fits(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// The glyphs of a pattern as it is written.
pub(super) fn glyphs(pattern: &str) -> impl Iterator<Item = Glyph> {
    pattern.chars().map(|c| match c {
        '*' => Glyph::Run,
        '?' => Glyph::One,
        c => Glyph::Exactly(c),
    })
}

/// Greedy with one point to come back to: linear for one star, never exponential.
pub(super) fn fits_glyphs(pattern: &[Glyph], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Glyph::Run) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(glyph) if *glyph == Glyph::One || *glyph == Glyph::Exactly(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else {
                    return false;
                };
                retry = Some((after_star, taken + 1));
                p = after_star;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|glyph| *glyph == Glyph::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a/b:c", true),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "abcd", false),
            ("*.txt", "a.txt.txt", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?", "aé", true),
            ("?", "", false),
            ("**a**", "a", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "acb", false),
            ("A", "a", false),
            ("a[b]", "ab", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(
                fits(pattern, text),
                expected,
                "{pattern:?} against {text:?}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "a*".repeat(40) + "b";
        let started = std::time::Instant::now();
        assert!(!fits(&pattern, &"a".repeat(1000)));
        assert!(started.elapsed() < std::time::Duration::from_secs(2));
    }
}
