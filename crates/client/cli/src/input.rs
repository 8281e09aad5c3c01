//! What is read from standard input: secrets and answers.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// Whether somebody can be asked: standard input and standard error are a terminal, and
/// questions are not forbidden.
pub(crate) fn may_ask(context: &Context) -> bool {
    !context.no_input && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads one line that is a secret. On a terminal it is asked for and not shown.
pub(crate) fn secret(context: &Context, what: &str) -> Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return line(what);
    }
    if !may_ask(context) {
        return Err(input_needed(&format!("the {what} would have to be typed"))
            .with_hint(format!("pipe the {what} in, or leave --no-input out")));
    }
    hidden(what)
}

/// Reads standard input to its end, `limit` bytes of it at most.
pub(crate) fn whole(what: &str, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    io::stdin()
        .lock()
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::new(Code::Failed, format!("cannot read the {what}: {e}")))?;
    if bytes.len() > limit {
        let text = format!("the {what} has more than {limit} bytes");
        return Err(Failure::new(Code::InvalidValue, text));
    }
    Ok(bytes)
}

/// Reads one line that may be seen. On a terminal it is asked for.
pub(crate) fn answer(context: &Context, what: &str, option: &str) -> Result<Zeroizing<String>> {
    if !may_ask(context) {
        return Err(
            input_needed(&format!("the {what} is not given")).with_hint(format!("add {option}"))
        );
    }
    ask(&format!("{what}: "));
    line(what)
}

/// Asks for a secret on the terminal, without showing it.
pub(crate) fn hidden(what: &str) -> Result<Zeroizing<String>> {
    ask(&format!("{what}: "));
    let quiet = Quiet::begin()?;
    let answer = typed(what);
    drop(quiet);
    ask("\n");
    answer
}

/// Asks for a word to be typed, to be sure.
pub(crate) fn confirm(context: &Context, question: &str, word: &str, option: &str) -> Result<()> {
    if !may_ask(context) {
        return Err(input_needed(question).with_hint(format!("add {option} to answer beforehand")));
    }
    ask(&format!("{question}\nType {word} to go on: "));
    if line("answer")?.as_str() == word {
        Ok(())
    } else {
        Err(Failure::new(
            Code::Failed,
            "not confirmed; nothing was changed",
        ))
    }
}

fn input_needed(what: &str) -> Failure {
    Failure::new(Code::InputNeeded, what)
}

fn ask(text: &str) {
    let mut stderr = io::stderr().lock();
    // Whether the question was seen shows in the answer.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

fn line(what: &str) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|e| Failure::new(Code::Failed, format!("cannot read the {what}: {e}")))?;
    if read == 0 {
        return Err(ended(what));
    }
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
}

/// What is typed in a [`Quiet`] terminal up to the end of the line. Control-C comes as a
/// character there, so that the terminal is put right again before the command ends.
fn typed(what: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    for byte in io::stdin().lock().bytes() {
        match byte
            .map_err(|e| Failure::new(Code::Failed, format!("cannot read the {what}: {e}")))?
        {
            b'\r' | b'\n' => return text(&bytes, what),
            INTERRUPT => return Err(interrupted()),
            END if bytes.is_empty() => return Err(ended(what)),
            BACKSPACE | DELETE => erase_last(&mut bytes),
            ERASE_LINE => bytes.clear(),
            byte => bytes.push(byte),
        }
    }
    Err(ended(what))
}

/// Takes back one character, which may be several bytes (RFC 3629: all but the first of a
/// character begin with the bits 10).
fn erase_last(bytes: &mut Vec<u8>) {
    while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const ERASE_LINE: u8 = 0x15;
const DELETE: u8 = 0x7f;

fn text(bytes: &[u8], what: &str) -> Result<Zeroizing<String>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::InvalidValue, format!("the {what} is not UTF-8")))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn interrupted() -> Failure {
    Failure::new(Code::Failed, "interrupted; nothing was changed")
}

fn ended(what: &str) -> Failure {
    let message = format!("standard input ended before the {what}");
    Failure::new(Code::InputNeeded, message)
}

/// The terminal without echo, until dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> Result<Self> {
        let fail = |e| Failure::new(Code::Failed, format!("cannot set up the terminal: {e}"));
        let before = tcgetattr(io::stdin()).map_err(fail)?;
        let mut quiet = before.clone();
        let cooked = LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.local_modes.remove(cooked);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).map_err(fail)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is no better terminal to go back to.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_is_taken_back_however_long() {
        for (typed, left) in [
            ("", ""),
            ("a", ""),
            ("a\u{e4}", "a"),
            ("a\u{1f511}", "a"),
            ("\u{e4}b", "\u{e4}"),
        ] {
            let mut bytes = typed.as_bytes().to_vec();
            erase_last(&mut bytes);
            assert_eq!(bytes, left.as_bytes(), "{typed}");
        }
    }
}
