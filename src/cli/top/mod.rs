//! `weir top`: pools, nodes and queues, live in the terminal, or once for scripts. It only reads.

mod data;
mod screen;
mod sheet;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event};
use jiff::Zoned;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc as channel;

use super::cluster::{self, Cluster};
use super::output::{self, Output, columns};
use super::why;
use data::Snapshot;
use screen::{Screen, Wish};
use sheet::{Sheet, View};

/// Who is told to end and does not within that long is ended.
const GRACE: Duration = Duration::from_secs(2);
/// Keys are looked for that often.
const KEYS: Duration = Duration::from_millis(100);
/// Reading takes at most a fifth of the time, so that watching a large cluster does not burden it.
const REST: u32 = 4;

/// What `weir top` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir top                      live, until q is pressed
  weir top --once               once, as text
  weir top -o json -n vision    once, for programs; workloads of one namespace")]
pub struct Args {
    /// Print once instead of showing it live
    #[arg(long)]
    once: bool,

    /// How it is printed once; json and yaml do not need --once
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,

    /// How often the cluster is read, at least; longer where reading takes long
    #[arg(long, value_parser = crate::operate::config::duration, default_value = "2s")]
    interval: Duration,

    #[command(flatten)]
    cluster: cluster::Args,
}

/// Shows it live or prints it once.
///
/// # Errors
/// Where the cluster cannot be read, or the terminal cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.once
        || args.output != Output::Table
        || !std::io::stdout().is_terminal()
        || !std::io::stdin().is_terminal()
    {
        let snapshot = cluster::block_on(async {
            let cluster = args.cluster.connect().await?;
            data::read(&cluster, args.cluster.namespace.as_deref()).await
        })?;
        output::print(args.output, &snapshot, text)?;
        return Ok(ExitCode::SUCCESS);
    }
    live(args)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything as text, one table after another.
fn text(snapshot: &Snapshot) -> String {
    let mut parts: Vec<String> = Vec::new();
    for view in View::ALL {
        let sheet = Sheet::of(snapshot, view);
        let heading: Vec<&str> = sheet.columns.iter().map(|(name, _)| *name).collect();
        let rows: Vec<Vec<String>> =
            sheet.rows.into_iter().map(|row| row.cells.into_iter().map(|cell| cell.text).collect()).collect();
        parts.push(match rows.len() {
            0 => format!("no {}\n", view.title().to_lowercase()),
            _ => columns(&heading, &rows),
        });
    }
    if !snapshot.unknown.is_empty() {
        let unknown: Vec<String> =
            snapshot.unknown.iter().map(|one| format!("Not known: {one}.\n")).collect();
        parts.push(unknown.concat());
    }
    parts.join("\n")
}

/// What the one that reads is asked for.
enum Ask {
    Refresh,
    Explain(String),
}

/// What it tells.
enum News {
    Read(Result<Snapshot, String>),
    Explained(String, String),
}

fn live(args: &Args) -> anyhow::Result<()> {
    let (ask, asked) = channel::unbounded_channel();
    let (tell, news) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // What is wrong with the kubeconfig is said before the screen is taken.
    let cluster = runtime.block_on(args.cluster.connect())?;
    runtime.spawn(read_on(cluster, args.clone(), asked, tell));
    runtime.spawn(until_told(Arc::clone(&ended)));
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &title(args), &ask, &news, &ended);
    // Also after an error, and ratatui's hook does it after a panic.
    let restored = ratatui::try_restore();
    runtime.shutdown_background();
    shown?;
    Ok(restored?)
}

/// What the cluster is called.
fn title(args: &Args) -> String {
    let kubeconfig = match &args.cluster.which.kubeconfig {
        Some(path) => kube::config::Kubeconfig::read_from(path),
        None => kube::config::Kubeconfig::read(),
    };
    let current = || kubeconfig.ok().and_then(|config| config.current_context);
    args.cluster.which.context.clone().or_else(current).unwrap_or_else(|| "in the cluster".to_owned())
}

/// Reads the cluster again and again, and at once where it is asked to.
async fn read_on(
    cluster: Cluster,
    args: Args,
    mut asked: channel::UnboundedReceiver<Ask>,
    tell: mpsc::Sender<News>,
) {
    loop {
        let began = Instant::now();
        let read = data::read(&cluster, args.cluster.namespace.as_deref()).await;
        if tell.send(News::Read(read.map_err(|error| format!("{error:#}")))).is_err() {
            return;
        }
        let pause = args.interval.max(began.elapsed() * REST);
        let mut due = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(due, asked.recv()).await {
                Err(_) => break,
                Ok(None) => return,
                Ok(Some(Ask::Refresh)) => due = tokio::time::Instant::now(),
                Ok(Some(Ask::Explain(title))) => {
                    let text = why::explain(&cluster, &title).await;
                    if tell.send(News::Explained(title, text)).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Until the process is told to end: then the terminal must be restored first.
async fn until_told(ended: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut hup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
    ended.store(true, Ordering::Relaxed);
    // Where the terminal itself is gone, looking for keys may never return.
    tokio::time::sleep(GRACE).await;
    ratatui::restore();
    std::process::exit(i32::from(super::exit::FAILED));
}

fn show(
    terminal: &mut DefaultTerminal,
    title: &str,
    ask: &channel::UnboundedSender<Ask>,
    news: &mpsc::Receiver<News>,
    ended: &AtomicBool,
) -> anyhow::Result<()> {
    // By the convention of no-color.org.
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut screen = Screen::new(title.to_owned(), colours);
    while !ended.load(Ordering::Relaxed) {
        for one in news.try_iter() {
            match one {
                News::Read(read) => screen.take(read, Zoned::now().strftime("%H:%M:%S").to_string()),
                News::Explained(title, text) => screen.explain(&title, text),
            }
        }
        terminal.draw(|frame| screen.draw(frame))?;
        if !event::poll(KEYS)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        // The one that reads lives as long as this: what it is asked for, it gets.
        match screen.key(key) {
            Wish::None => {}
            Wish::Refresh => drop(ask.send(Ask::Refresh)),
            Wish::Explain(title) => drop(ask.send(Ask::Explain(title))),
            Wish::Quit => return Ok(()),
        }
    }
    Ok(())
}
