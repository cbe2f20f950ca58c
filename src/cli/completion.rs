//! `visiobook completion`: what a shell needs to complete our words.

use clap_complete::Shell;

/// Arguments of `visiobook completion`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook completion bash > /etc/bash_completion.d/visiobook\n  visiobook completion zsh > \"${fpath[1]}/_visiobook\"\n  visiobook completion fish > ~/.config/fish/completions/visiobook.fish"
)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    clap_complete::generate(
        args.shell,
        &mut super::command("visiobook"),
        "visiobook",
        &mut std::io::stdout(),
    );
    Ok(())
}
