//! What is read from standard input: secrets and answers.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// Reads one line that is a secret. On a terminal it is asked for and not shown.
pub(crate) fn secret(context: &Context, what: &str) -> Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(what);
    }
    if context.no_input {
        return Err(input_needed(&format!("the {what} would have to be typed"))
            .with_hint(format!("pipe the {what} in, or leave --no-input out")));
    }
    ask(&format!("{what}: "));
    let quiet = Quiet::begin()?;
    let answer = line(what);
    drop(quiet);
    ask("\n");
    answer
}

/// Asks for a word to be typed, to be sure.
pub(crate) fn confirm(context: &Context, question: &str, word: &str, option: &str) -> Result<()> {
    if context.no_input || !io::stdin().is_terminal() {
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
        let message = format!("standard input ended before the {what}");
        return Err(Failure::new(Code::InputNeeded, message));
    }
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
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
        quiet.local_modes.remove(LocalModes::ECHO);
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
