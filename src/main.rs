//! Arguments and exit codes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use deltaway::app;
use deltaway::config::{self, Config, LogFormat, Overrides};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

// jemalloc puts blocks of a page's size on a page's edge, so that of the server's half-used buffers
// only the used half is resident: 10 KB for an idle stream, where others take 20. Its background thread gives memory
// back after a peak: without it that waits for further requests.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The file that is served when none is named and it is there.
const DEFAULT_FILE: &str = "config/deltaway.toml";
/// How long `health` waits for an answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// A gateway for event streams: relays Server-Sent Events between clients and model backends,
/// unbuffered.
#[derive(Parser)]
#[command(name = "deltaway", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDRESS", env = "DELTAWAY_LISTEN", global = true)]
    listen: Option<SocketAddr>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Source {
    /// The configuration; without it config/deltaway.toml, or else the one inside this program
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "DELTAWAY_CONFIG",
        global = true
    )]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (as without a command)
    Serve,
    /// Report every fault of the configuration
    Check,
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the reference of every configuration key, as Markdown
    Reference,
    /// Say which route and upstream a request would take, and why
    Explain {
        /// The method, such as POST
        method: String,
        /// The path with its query, or a whole URL where the host matters
        url: String,
        /// The model the request would name
        #[arg(long)]
        model: Option<String>,
        /// A header of the request, as `Name: value`; may be repeated
        #[arg(long = "header", short = 'H', value_name = "FIELD")]
        headers: Vec<String>,
    },
    /// Ask a running gateway whether it takes requests; exits with 0 if so
    Health {
        /// The URL to ask; otherwise /readyz at the configuration's admin listener
        #[arg(long)]
        url: Option<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let file = configuration(arguments.source.config);
    let file = file.as_deref();
    let overrides = Overrides {
        listen: arguments.listen,
    };
    match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(load(file, overrides)?),
        Command::Check => {
            let config = load(file, overrides)?;
            let name = file.map_or(config::EMBEDDED_NAME.to_owned(), |file| {
                file.display().to_string()
            });
            println!(
                "{name}: {} routes, {} upstreams, no faults",
                config.routes.len(),
                config.upstreams.len()
            );
            Ok(())
        }
        Command::Schema => {
            println!("{:#}", config::json_schema());
            Ok(())
        }
        Command::Reference => {
            print!("{}", config::reference());
            Ok(())
        }
        Command::Explain {
            method,
            url,
            model,
            headers,
        } => {
            let config = load(file, overrides)?;
            let explanation = app::explain(&config, &method, &url, model.as_deref(), &headers)?;
            println!("{explanation}");
            match explanation.route() {
                Some(_) => Ok(()),
                None => Err("no route takes this request".to_owned()),
            }
        }
        Command::Health { url } => health(url, file, overrides),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(shell, &mut command, "deltaway", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// The file to read: the one that was named, else the default one where it exists.
fn configuration(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file()))
}

fn load(file: Option<&Path>, overrides: Overrides) -> Result<Config, String> {
    app::check(file, overrides).map_err(|faults| {
        let count = faults.len();
        let noun = if count == 1 { "fault" } else { "faults" };
        format!("{faults}\n{count} {noun} in the configuration")
    })
}

fn serve(config: Config) -> Result<(), String> {
    // Held to the end: what is still to be written is written when it is dropped.
    let _writer = log(&config.log)?;
    app::run(config).map_err(|fault| fault.to_string())
}

/// Sets up the log. Lines are written by a thread of their own: whoever reads them slowly must not
/// hold back a stream. When 128,000 lines wait, further ones are dropped.
fn log(log: &config::Log) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::builder()
        .parse(&log.level)
        .map_err(|error| format!("log.level: {error}"))?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stdout());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // Only attempts on upstreams have spans: `deltaway::attempt=debug` shows each with its time.
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(writer);
    match log.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.with_ansi(false).init(),
    }
    Ok(guard)
}

fn health(url: Option<String>, file: Option<&Path>, overrides: Overrides) -> Result<(), String> {
    let url = match url {
        Some(url) => url,
        None => {
            let config = load(file, overrides)?;
            let admin = config
                .admin
                .ok_or("the configuration has no [admin] listener; name a --url")?;
            let mut address = admin.listen;
            // What listens on every address answers on this machine's own.
            if address.ip().is_unspecified() {
                address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            format!("http://{address}/readyz")
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let asking = async {
        let client = reqwest::Client::builder()
            .timeout(HEALTH_TIMEOUT)
            .no_proxy()
            .build()?;
        client.get(&url).send().await
    };
    match runtime.block_on(asking) {
        Ok(response) if response.status().is_success() => {
            println!("{url}: {}", response.status());
            Ok(())
        }
        Ok(response) => Err(format!("{url}: {}", response.status())),
        Err(error) => Err(format!("{url}: {}", innermost(&error))),
    }
}

/// The last cause of an error: the one that says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
