//! The reference of the command line, as the documentation shows it.

use std::fmt::Write;

/// The help of every command, as Markdown.
pub fn reference() -> String {
    let mut command = super::command("visiobook").term_width(100);
    command.build();
    let mut text = String::new();
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        // What the variables are set to is nobody's business but the caller's.
        let mut subcommand = subcommand.clone().mut_args(|argument| argument.hide_env_values(true));
        let (name, help) = (subcommand.get_name().to_string(), subcommand.render_long_help().to_string());
        let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        let _ = write!(text, "\n### visiobook {name}\n\n```text\n{}\n```\n", help.trim_end());
    }
    text + "\n"
}
