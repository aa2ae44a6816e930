//! `-v` and GAUNTLET_LOG: events of long work, on standard error. Events inside a plugin's library are
//! not printed: the library has its own copy of `tracing`, without a subscriber.

use gauntlet::{Error, Result};
use std::fmt;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts to print events, where `-v` (so many times) or the variable, which wins, asks for some.
///
/// # Errors
/// If the variable holds no filter.
pub fn start(verbose: u8, variable: Option<String>) -> Result<()> {
    let variable = variable.filter(|text| !text.is_empty());
    let filter = match (&variable, verbose) {
        (Some(text), _) => parse(text)?,
        (None, 0) => return Ok(()),
        (None, 1) => Targets::new().with_target("gauntlet", LevelFilter::INFO),
        (None, _) => Targets::new().with_target("gauntlet", LevelFilter::DEBUG),
    };
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false).event_format(Line);
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}

fn parse(text: &str) -> Result<Targets> {
    text.parse().map_err(|error: ParseError| {
        let why = format!("{error}; give off, info, debug or trace, or TARGET=LEVEL,... as in gauntlet_data=debug");
        Error::invalid(format!("GAUNTLET_LOG={text}"), why)
    })
}

/// `-v` as this process was given it, for those that it starts; they inherit the variable.
pub fn options() -> Option<&'static str> {
    match LevelFilter::current() {
        LevelFilter::OFF => None,
        LevelFilter::DEBUG | LevelFilter::TRACE => Some("-vv"),
        _ => Some("-v"),
    }
}

/// One line an event, as warnings and errors have it: `info: row index found: FOLDER`.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "{}: ", event.metadata().level().as_str().to_lowercase())?;
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
