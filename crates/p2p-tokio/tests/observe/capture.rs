//! Subscribers that keep what they are told.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// A line, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) message: String,
    pub(crate) fields: Fields,
    /// The fields of the spans around it.
    pub(crate) spans: Vec<(&'static str, Fields)>,
}

pub(crate) type Fields = BTreeMap<&'static str, String>;

/// All lines of this thread, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    lines: Arc<Mutex<Vec<Line>>>,
    spans: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    /// Keeps the lines of this thread from this level on, as long as the guard lives.
    pub(crate) fn capture(level: LevelFilter) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let subscriber = Registry::default().with(lines.clone().with_filter(level));
        let guard = tracing::subscriber::set_default(subscriber);
        (lines, guard)
    }

    pub(crate) fn all(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// What spans did: `begin connection`, `begin connection/handshake`, `end connection`.
    pub(crate) fn spans(&self) -> Vec<String> {
        self.spans.lock().unwrap().clone()
    }

    /// Those with this message.
    pub(crate) fn of(&self, message: &str) -> Vec<Line> {
        let mut lines = self.all();
        lines.retain(|line| line.message == message);
        lines
    }

    /// The only one with this message.
    pub(crate) fn one(&self, message: &str) -> Line {
        match &self.of(message)[..] {
            [line] => line.clone(),
            lines => panic!("{} lines {message:?} in {:#?}", lines.len(), self.all()),
        }
    }
}

impl Line {
    /// The field, of the line or of a span around it.
    pub(crate) fn field(&self, name: &str) -> &str {
        let own = self.fields.get(name);
        let of_spans = || self.spans.iter().find_map(|(_, fields)| fields.get(name));
        own.or_else(of_spans)
            .map_or_else(|| panic!("no {name} in {self:#?}"), |value| value.as_str())
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Reader(&mut fields));
        // Another capture may have put them there already.
        context.span(id).unwrap().extensions_mut().replace(fields);
        self.note("begin", id, &context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.note("end", &id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let scope = context.event_scope(event).into_iter().flatten();
        let spans = scope.map(|span| {
            let fields = span.extensions().get::<Fields>().cloned();
            (span.name(), fields.unwrap_or_default())
        });
        let line = Line {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: fields.remove("message").unwrap_or_default(),
            spans: spans.collect(),
            fields,
        };
        self.lines.lock().unwrap().push(line);
    }
}

impl Lines {
    fn note<S>(&self, what: &str, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let scope = context.span(id).unwrap().scope().from_root();
        let path: Vec<_> = scope.map(|span| span.name()).collect();
        let line = format!("{what} {}", path.join("/"));
        self.spans.lock().unwrap().push(line);
    }
}

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// A log file in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// A log of this level in this file, as `tracing-subscriber` formats it, for this thread.
    pub(crate) fn log(&self, level: LevelFilter) -> DefaultGuard {
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(self.clone())
            .with_ansi(false);
        tracing::subscriber::set_default(Registry::default().with(lines.with_filter(level)))
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for File {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
