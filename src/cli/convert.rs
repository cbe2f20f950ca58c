//! `visiobook convert`: a team's Helm values as a VisiobookService.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

use super::Failed;
use super::files::{self, Format};
use crate::api::{EnvironmentType, Stack, VisiobookEnvironmentSpec};
use crate::check;
use crate::convert::{self, Converted, Fate, Told};
use crate::facts::EnvironmentFact;

/// Arguments of `visiobook convert`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  visiobook convert user-service.values.yaml > user-service.yaml\n  helm get values user-service --output yaml | visiobook convert - --namespace shop\n  visiobook convert ai.values.yaml --image ghcr.io/visiobook/ai-analysis-service:1.0.0\n\nWhat is not as the values say is told on the error output: given (the operator does it anyway), changed, or no home."
)]
pub(super) struct Args {
    /// Values for the guidelines' chart, of either shape, or - for what is piped in.
    #[arg(value_name = "VALUES")]
    values: PathBuf,
    /// Image, where the values name none or another one is wanted.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Name, where the values name none or another one is wanted.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Namespace of the resource.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Technology. Default: what NODE_ENV or PYTHON_ENV among the variables tells.
    #[arg(long, value_enum, value_name = "STACK")]
    stack: Option<StackName>,
    /// Exit with 1 if something has no home.
    #[arg(long)]
    strict: bool,
    /// What is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StackName {
    Nodejs,
    Python,
    Go,
    Vue,
    Rust,
}

impl From<StackName> for Stack {
    fn from(name: StackName) -> Stack {
        match name {
            StackName::Nodejs => Stack::Nodejs,
            StackName::Python => Stack::Python,
            StackName::Go => Stack::Go,
            StackName::Vue => Stack::Vue,
            StackName::Rust => Stack::Rust,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let file = files::file(&args.values).map_err(Failed::unreadable)?;
    let [document] = file.documents.as_slice() else {
        return Err(Failed::usage(format!(
            "{} holds {} documents: values are one",
            file.name,
            file.documents.len()
        ))
        .into());
    };
    let told = Told {
        image: args.image.clone(),
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        stack: args.stack.map(Stack::from),
    };
    let converted = convert::convert(document, &told)
        .map_err(|error| Failed::usage(format!("{}: {error}", file.name)))?;
    tell(&file.name, &converted);
    files::print(&[&converted.service], args.output)?;
    let homeless = converted.notes.iter().filter(|note| note.fate == Fate::NoHome).count();
    if args.strict && homeless > 0 {
        return Err(Failed::verdict(format!("{homeless} fields had no home")).into());
    }
    Ok(())
}

fn tell(file: &str, converted: &Converted) {
    let bold = Style::new().bold();
    for note in &converted.notes {
        let colour = match note.fate {
            Fate::Given => AnsiColor::Green,
            Fate::Changed => AnsiColor::Yellow,
            Fate::NoHome => AnsiColor::Red,
        }
        .on_default();
        let (field, fate, line) = (&note.field, note.fate.as_str(), note.line);
        anstream::eprintln!(
            "{bold}{file}:{line}{bold:#}: {field}: {colour}{fate}{colour:#}: {}",
            note.message
        );
    }
    let type_ = converted.environment.unwrap_or(EnvironmentType::Development);
    let spec = Box::new(VisiobookEnvironmentSpec { type_, ..VisiobookEnvironmentSpec::default() });
    let environment = EnvironmentFact::Governed { name: type_.as_str().into(), spec };
    for refusal in check::validate(&converted.service, &environment).err().into_iter().flatten() {
        anstream::eprintln!("{bold}{file}{bold:#}: in {} it would be refused: {refusal}", type_.as_str());
    }
}
