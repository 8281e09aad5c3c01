//! The reference page of a program's commands, from their definition.

use clap::{Arg, ArgAction, Command};

/// The page in Markdown: every command with its options. `notice` stands at the top and says
/// where the page comes from.
pub fn page(mut root: Command, title: &str, notice: &str) -> String {
    root.build();
    let mut text = format!("{notice}\n# {title}\n\n");
    text.push_str("Options of every command:\n\n");
    for arg in root.get_arguments().filter(|arg| arg.is_global_set()) {
        text.push_str(&item(arg));
    }
    section(&mut text, &root, "", &[]);
    text
}

/// The command's section and those of the commands below it. `groups` are the options that the
/// groups above it give to all of their commands. A group that can also be run by itself has
/// options of its own.
fn section(text: &mut String, command: &Command, above: &str, groups: &[&Arg]) {
    let name = format!("{above}{}", command.get_name());
    let is_group = command.get_subcommands().next().is_some();
    if !is_group || command.get_arguments().any(is_own) {
        text.push_str(&format!("\n## `{name}`\n\n{}\n", about(command)));
        text.push_str(&format!("\n```\n{}\n```\n", usage(command, &name)));
        let own: String = command
            .get_arguments()
            .filter(|arg| is_own(arg))
            .chain(groups.iter().copied())
            .map(item)
            .collect();
        if !own.is_empty() {
            text.push_str(&format!("\n{own}"));
        }
    }
    let given = command.get_arguments().filter(|_| !above.is_empty());
    let given = given.filter(|arg| arg.is_global_set() && !is_of_root(arg));
    let mut groups = groups.to_vec();
    groups.extend(
        given
            .filter(|arg| !groups.iter().any(|g| g.get_id() == arg.get_id()))
            .collect::<Vec<_>>(),
    );
    let below = command.get_subcommands();
    for inner in below.filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        section(text, inner, &format!("{name} "), &groups);
    }
}

/// Whether it is this command's alone, and to be shown.
fn is_own(arg: &Arg) -> bool {
    let asks_for_help = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
    );
    !arg.is_global_set() && !arg.is_hide_set() && !asks_for_help
}

/// Whether every command has it; those are listed at the top.
fn is_of_root(arg: &Arg) -> bool {
    ["format", "no_input", "help", "version"].contains(&arg.get_id().as_str())
}

fn about(command: &Command) -> String {
    let short = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    match command.get_long_about().map(ToString::to_string) {
        Some(long) => long,
        None if short.is_empty() => short,
        None => format!("{short}."),
    }
}

fn usage(command: &Command, name: &str) -> String {
    let positional = command.get_positionals().map(|arg| {
        let value = placeholder(arg);
        if arg.is_required_set() {
            format!(" {value}")
        } else {
            format!(" [{value}]")
        }
    });
    let positional: String = positional.collect();
    format!("{name} [OPTIONS]{positional}")
}

/// One option or argument as an item of a list.
fn item(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| takes_value(arg))
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let values = match values.len() {
        0 => String::new(),
        _ => format!(" One of {}.", values.join(", ")),
    };
    let default: Vec<_> = arg
        .get_default_values()
        .iter()
        .filter(|_| takes_value(arg))
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    let default = match default.len() {
        0 => String::new(),
        _ => format!(" Default: {}.", default.join(", ")),
    };
    let variable = arg.get_env().map(|name| name.to_string_lossy());
    let variable = variable.map_or_else(String::new, |name| format!(" Variable: `{name}`."));
    let stop = if help.ends_with('.') { "" } else { "." };
    let name = spelling(arg);
    format!("- `{name}`: {help}{stop}{values}{default}{variable}\n")
}

fn spelling(arg: &Arg) -> String {
    let value = takes_value(arg).then(|| placeholder(arg));
    let flags = [
        arg.get_short().map(|short| format!("-{short}")),
        arg.get_long().map(|long| format!("--{long}")),
    ];
    let flags: Vec<String> = flags.into_iter().flatten().collect();
    let parts = [Some(flags.join(", ")), value];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .filter(|p| !p.is_empty())
        .collect();
    parts.join(" ")
}

fn placeholder(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(|names| names.first());
    name.map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string)
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let listen = Arg::new("listen")
            .long("listen")
            .value_name("IP:PORT")
            .help("Where to listen")
            .env("LISTEN")
            .default_value("127.0.0.1:1");
        let database = Arg::new("database")
            .long("database")
            .value_name("URL")
            .help("The database")
            .global(true);
        let serve = Command::new("serve").about("Serve").arg(listen);
        let serve = serve.subcommand(Command::new("once").about("Serve once"));
        let audit = Command::new("audit").about("Look back").arg(database);
        let audit = audit.subcommand(Command::new("verify").about("Verify"));
        Command::new("program").subcommand(serve).subcommand(audit)
    }

    #[test]
    fn every_command_that_can_be_run_has_a_section_with_its_options() {
        let page = page(program(), "Commands", "notice");
        let sections: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        assert_eq!(
            sections,
            [
                "## `program serve`",
                "## `program serve once`",
                "## `program audit verify`"
            ]
        );
        let listen =
            "- `--listen IP:PORT`: Where to listen. Default: `127.0.0.1:1`. Variable: `LISTEN`.";
        assert!(page.contains(listen), "{page}");
        let database = "- `--database URL`: The database.\n";
        assert_eq!(page.matches(database).count(), 1, "{page}");
    }
}
