//! `dnscribe man` and `dnscribe completions`, generated from the definition of the command line, and
//! `dnscribe schema`.

use super::summary::print;
use crate::cli::exit::Exit;
use crate::cli::{Cli, CompletionsArgs, ManArgs, SchemaArgs};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

/// Prints the completion script of a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dnscribe", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Prints the manual page of a command, as roff, or the list of all pages.
pub(super) fn man(args: &ManArgs) -> Result<(), Exit> {
    if args.list {
        let mut names = Vec::new();
        list(&described(), "", &mut names);
        return print(&format!("{}\n", names.join("\n")));
    }
    let text = page(&args.command)?;
    print(&String::from_utf8_lossy(&text))
}

fn page(words: &[String]) -> Result<Vec<u8>, Exit> {
    let mut command = described();
    for word in words {
        let inside = command.find_subcommand(word).cloned();
        command = inside.ok_or_else(|| unknown(&words.join(" ")))?;
    }
    let mut text = Vec::new();
    let failed = |error| Exit::failed(format!("cannot make the page: {error}"));
    Man::new(command).render(&mut text).map_err(failed)?;
    Ok(text)
}

fn unknown(command: &str) -> Exit {
    Exit::usage(format!("there is no command \"{command}\""))
        .with_remedy("choose from `dnscribe man --list`")
}

/// Returns the definition of the command line, with the full name of each command.
fn described() -> Command {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    whole
}

/// Adds the full names of all commands.
fn list(command: &Command, above: &str, names: &mut Vec<String>) {
    for inside in command.get_subcommands() {
        let name = format!("{above}{}", inside.get_name());
        list(inside, &format!("{name} "), names);
        names.push(name);
    }
}

/// Prints one schema, or the names of all.
pub(super) fn schema(args: &SchemaArgs) -> Result<(), Exit> {
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
        let mut names = Vec::new();
        list(&described(), "", &mut names);
        assert!(names.contains(&"ledger verify".to_owned()), "{names:?}");
        for name in names {
            let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
            let text = String::from_utf8(page(&words).unwrap()).unwrap();
            let title = format!(".TH dnscribe-{} 1", name.replace(' ', "-"));
            assert!(text.contains(&title), "{name}: {text}");
        }
        let told = page(&["nothing".to_owned()]).unwrap_err().to_string();
        assert!(told.contains("man --list"), "{told}");
    }
}
