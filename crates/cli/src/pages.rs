//! The commands `man` and `completions`, generated from the definition of a program's command line, and
//! `schema`.

use crate::exit::Exit;
use crate::print;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// Arguments of the command `completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of the command `man`.
#[derive(Clone, Debug, Default, Args)]
pub struct ManArgs {
    /// The command, such as run; the program itself without it
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,

    /// List the commands that have a page instead, one a line
    #[arg(long, conflicts_with = "command")]
    pub list: bool,
}

/// Arguments of the command `schema`.
#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// The schema to print, such as dns.alert/1; a list of all without it
    pub name: Option<String>,

    /// Print the Avro schema, as it is registered, instead of the JSON Schema; records that agents
    /// do not write have none
    #[arg(long)]
    pub avro: bool,
}

/// Prints the completion script of a shell for `program`.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> Result<(), Exit> {
    let mut text = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(args.shell, &mut program, name, &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Prints the manual page of a command of `program`, as roff, or the list of all pages.
///
/// # Errors
/// There is no such command, or standard output cannot be written.
pub fn man(args: &ManArgs, program: Command) -> Result<(), Exit> {
    let described = described(program);
    if args.list {
        let mut names = Vec::new();
        list(&described, "", &mut names);
        return print(&format!("{}\n", names.join("\n")));
    }
    let text = page(described, &args.command)?;
    print(&String::from_utf8_lossy(&text))
}

fn page(mut command: Command, words: &[String]) -> Result<Vec<u8>, Exit> {
    for word in words {
        let inside = command.find_subcommand(word).cloned();
        let unknown = || {
            Exit::usage(format!("there is no command \"{}\"", words.join(" ")))
                .with_remedy("choose one that `man --list` prints")
        };
        command = inside.ok_or_else(unknown)?;
    }
    let mut text = Vec::new();
    let failed = |error| Exit::failed(format!("cannot make the page: {error}"));
    Man::new(command).render(&mut text).map_err(failed)?;
    Ok(text)
}

/// Returns the definition of a command line, with the full name of each command.
fn described(program: Command) -> Command {
    let mut whole = program.disable_help_subcommand(true);
    whole.build();
    whole
}

/// Adds the full names of all commands that are not hidden.
fn list(command: &Command, above: &str, names: &mut Vec<String>) {
    for inside in command.get_subcommands().filter(|inside| !inside.is_hide_set()) {
        let name = format!("{above}{}", inside.get_name());
        list(inside, &format!("{name} "), names);
        names.push(name);
    }
}

/// Prints one schema, or the names of all.
///
/// # Errors
/// There is no such schema, or standard output cannot be written.
pub fn schema(args: &SchemaArgs) -> Result<(), Exit> {
    let names: Vec<&str> = if args.avro {
        dnscribe_record::avro_schema_names().collect()
    } else {
        dnscribe_record::schema_names().collect()
    };
    let Some(name) = &args.name else {
        return print(&format!("{}\n", names.join("\n")));
    };
    let schema = if args.avro {
        dnscribe_record::avro_schema(name)
    } else {
        dnscribe_record::json_schema(name)
    };
    let Some(schema) = schema else {
        let format = if args.avro { "Avro schema" } else { "schema" };
        return Err(Exit::usage(format!("there is no {format} \"{name}\""))
            .with_remedy(format!("choose from {}", names.join(", "))));
    };
    print(&format!("{schema:#}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let program = Command::new("dnscribe-probe")
            .subcommand(Command::new("ledger").subcommand(Command::new("verify")))
            .subcommand(Command::new("helper").hide(true));
        let mut names = Vec::new();
        list(&described(program.clone()), "", &mut names);
        assert_eq!(names, ["ledger verify", "ledger"]);
        for name in names {
            let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
            let text = page(described(program.clone()), &words).unwrap();
            let title = format!(".TH dnscribe-probe-{} 1", name.replace(' ', "-"));
            assert!(String::from_utf8(text).unwrap().contains(&title), "{name}");
        }
        let error = page(described(program), &["nothing".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("man --list"), "{error}");
    }
}
