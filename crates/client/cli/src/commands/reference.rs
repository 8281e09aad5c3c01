//! `artifacts reference`: the pages of `docs/reference`, from the code.

mod config;
mod tables;

use clap::{Args, CommandFactory, ValueEnum};

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::{Code, Failure, Result};

/// Prints one page.
#[derive(Args)]
pub(crate) struct Reference {
    /// Which one.
    page: Page,
}

/// The pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Every command with its options, in Markdown.
    Commands,
    /// Everything that config.toml can say, in Markdown.
    Config,
    /// Every environment variable, in Markdown.
    Environment,
    /// What each exit code means, in Markdown.
    ExitCodes,
    /// What each error code means and what to do, in Markdown.
    ErrorCodes,
    /// The manual page, in roff.
    Man,
}

pub(crate) fn run(reference: &Reference, context: &Context) -> Result<()> {
    context.output.text(&reference.page.text()?)
}

impl Page {
    fn text(self) -> Result<String> {
        Ok(match self {
            Self::Commands => manual::page(Cli::command(), "Commands", tables::NOTICE),
            Self::Config => config::page(),
            Self::Environment => tables::environment(),
            Self::ExitCodes => tables::exit_codes(),
            Self::ErrorCodes => tables::error_codes(),
            Self::Man => roff()?,
        })
    }
}

fn roff() -> Result<String> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut roff)
        .map_err(|e| Failure::new(Code::Failed, format!("no manual page: {e}")))?;
    Ok(String::from_utf8_lossy(&roff).into_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILES: [(Page, &str); 5] = [
        (Page::Config, "config.md"),
        (Page::Commands, "commands.md"),
        (Page::Environment, "environment.md"),
        (Page::ExitCodes, "exit-codes.md"),
        (Page::ErrorCodes, "error-codes.md"),
    ];

    #[test]
    fn the_committed_pages_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference");
        for (page, file) in FILES {
            let text = page.text().expect("a page");
            let committed = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            assert!(
                committed == text,
                "docs/reference/{file} differs from the code; renew it with: make docs"
            );
        }
    }

    #[test]
    fn the_manual_page_is_roff() {
        let text = Page::Man.text().expect("a page");
        assert!(text.contains(".TH artifacts 1"), "{text}");
    }
}
