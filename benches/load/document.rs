//! `report`: writes the measured part of docs/benchmarks.md anew, with its plots, from the raw numbers.
//!
//! Invariant: nothing outside of the two markers changes, and nothing between them was written by hand; the raw
//! numbers stand beside the plots.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{LoadError, Result, While};
use crate::fanout;
use crate::plot::Plot;
use crate::plots::{compare_plots, fanout_plots, workers_plots};
use crate::record::{Record, Sheet, write};
use crate::report::{COMPARE, Layout};
use crate::workers::WORKERS;

/// `report`: tables and plots for the document.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The folder with compare.json, fanout.json and workers.json; what is missing is left out.
    #[arg(long, value_name = "FOLDER", default_value = "target/load")]
    from: PathBuf,
    /// The document to write to, between its markers.
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    document: PathBuf,
    /// The folder for plots and raw numbers.
    #[arg(long, value_name = "FOLDER", default_value = "docs/benchmarks")]
    plots: PathBuf,
}

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// A command's measurement in the document.
struct Part {
    /// The file's name without its end.
    name: &'static str,
    heading: &'static str,
    layout: fn(&Sheet) -> &'static Layout,
    plots: fn(&Record) -> Vec<(&'static str, Plot)>,
}

const PARTS: [Part; 3] = [
    Part {
        name: "compare",
        heading: "Relayed streams and answers",
        layout: |_| &COMPARE,
        plots: compare_plots,
    },
    Part {
        name: "workers",
        heading: "Two workers",
        layout: |_| &WORKERS,
        plots: workers_plots,
    },
    Part {
        name: "fanout",
        heading: "One stream, many subscribers",
        layout: |sheet| fanout::layout(&sheet.load),
        plots: fanout_plots,
    },
];

/// Writes plots, raw numbers and the document.
pub fn report(args: &ReportArgs) -> Result<()> {
    let what = format!("reading {}", args.document.display());
    let old = fs::read_to_string(&args.document).while_doing(what)?;
    let links = links(&args.document, &args.plots);
    let mut text = String::new();
    for part in &PARTS {
        let file = format!("{}.json", part.name);
        let Some(record) = Record::read(&args.from.join(&file))? else {
            eprintln!("{file} is not in {}: left out", args.from.display());
            continue;
        };
        record.write(&args.plots.join(&file))?;
        let plots = (part.plots)(&record);
        for (name, plot) in &plots {
            write(&args.plots.join(format!("{name}.svg")), &plot.svg())?;
        }
        text.push_str(&section(part, &record, &plots, &links));
    }
    if text.is_empty() {
        let from = args.from.display();
        return Err(LoadError::Usage(format!("no measurements in {from}")));
    }
    let new = replaced(&old, text.trim())?;
    write(&args.document, &new)?;
    println!("{} and {}", args.document.display(), args.plots.display());
    Ok(())
}

/// The folder of the plots as the document links to it, with a slash at its end.
fn links(document: &Path, plots: &Path) -> String {
    let beside = document.parent().unwrap_or(Path::new(""));
    let folder = plots.strip_prefix(beside).unwrap_or(plots);
    format!("{}/", folder.display())
}

/// The document with this text between its markers.
fn replaced(document: &str, text: &str) -> Result<String> {
    let bad = || {
        LoadError::Usage(format!(
            "the document needs {BEGIN} and after it {END}, once"
        ))
    };
    let (before, rest) = document.split_once(BEGIN).ok_or_else(bad)?;
    let (_, after) = rest.split_once(END).ok_or_else(bad)?;
    if after.contains(BEGIN) || after.contains(END) {
        return Err(bad());
    }
    Ok(format!("{before}{BEGIN}\n\n{text}\n\n{END}{after}"))
}

fn section(part: &Part, record: &Record, plots: &[(&str, Plot)], links: &str) -> String {
    let Record {
        environment,
        sheets,
    } = record;
    let mut text = format!("## {}\n\n", part.heading);
    let rounds = sheets.iter().map(Sheet::rounds).max().unwrap_or(0);
    text.push_str(&circumstances(environment, rounds));
    for sheet in sheets {
        let names = sheet.contenders();
        let _ = writeln!(text, "**{}**\n", sheet.title);
        let _ = writeln!(text, "{}", (part.layout)(sheet).table(&sheet.runs, &names));
        for note in sheet.notes.lines().filter(|note| !note.is_empty()) {
            let _ = match note.split_once("WARNING: ") {
                Some((_, warning)) => writeln!(text, "- **Warning: {warning}**"),
                None => writeln!(text, "- {note}"),
            };
        }
        let faults = sheet.runs.iter().filter_map(|run| {
            let fault = run.fault.as_ref()?.lines().next().unwrap_or_default();
            Some((run, fault))
        });
        for (run, fault) in faults {
            let (name, round) = (&run.contender, run.round);
            let _ = writeln!(text, "- **{name} failed in round {round}: {fault}**");
        }
        text.push('\n');
    }
    for (name, plot) in plots {
        let _ = writeln!(text, "![{}]({links}{name}.svg)\n", plot.title);
    }
    let _ = writeln!(
        text,
        "Every round's values: [{name}.json]({links}{name}.json).\n",
        name = part.name
    );
    text
}

fn circumstances(environment: &Environment, rounds: usize) -> String {
    let Environment {
        processor,
        cores,
        memory_mb,
        kernel,
        system,
        date,
        command,
        versions,
    } = environment;
    let versions: Vec<String> = versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let times = if rounds == 1 { "round" } else { "rounds" };
    format!(
        "{date}, {cores} cores of {processor}, {memory_mb} MB, {system}, Linux {kernel}; {rounds} {times}. Versions: {}.\n\n\
         ```sh\n{command}\n```\n\n",
        versions.join(", ")
    )
}

/// An error unless a document keeps what is outside of its markers, and one without them is refused.
pub fn check() -> Result<()> {
    let old = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
    let new = replaced(&old, "new")?;
    let again = replaced(&new, "new")?;
    let wanted = format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n");
    let none = replaced("no markers", "new").is_err();
    let turned = replaced(&format!("{END}{BEGIN}"), "new").is_err();
    let twice = replaced(&format!("{old}{old}"), "new").is_err();
    let linked = links(Path::new("docs/a.md"), Path::new("docs/b")) == "b/";
    if new == wanted && again == wanted && none && turned && twice && linked {
        return Ok(());
    }
    Err(LoadError::Failed(format!(
        "the document's measured part is put in wrongly: {new}"
    )))
}
