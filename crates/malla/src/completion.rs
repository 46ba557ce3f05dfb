//! `malla completion`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Examples under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  source <(malla completion bash)
  malla completion zsh > \"${fpath[1]}/_malla\"
  malla completion fish > ~/.config/fish/completions/malla.fish";

/// Arguments of `malla completion`.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Prints the script.
///
/// # Errors
/// When the output can't be written.
pub fn run<C: CommandFactory>(args: &CompletionArgs) -> anyhow::Result<()> {
    let shell = match args.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut C::command(), "malla", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}
