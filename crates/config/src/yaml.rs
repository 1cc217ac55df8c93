//! A YAML document as a tree of texts, lists and maps, each with its place.
//!
//! Texts are not interpreted: whoever reads a value knows its type. Anchors, aliases and merge keys (`<<`)
//! are resolved here; tags are ignored.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Limit of values in a document, with those that aliases repeat.
const MAX_NODES: usize = 100_000;

/// Bytes from which on the name of a key is not put together any more.
const MAX_KEY: usize = 256;

/// A value of a document.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Where the value begins.
    place: Place,
    /// The value.
    pub(crate) content: Content,
}

/// Content of a value.
#[derive(Clone, Debug, Default)]
pub(crate) enum Content {
    /// No value, `~` or `null`.
    #[default]
    Null,
    /// A scalar, as it is written.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the document. Keys are unique.
    Map(Vec<MapEntry>),
}

/// A key of a mapping and its value.
#[derive(Clone, Debug)]
pub(crate) struct MapEntry {
    /// Where the key begins.
    place: Place,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Node,
}

/// Line and column in a document, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The first character, which is also the place of what is in no document.
impl Default for Place {
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

/// Reason why a document, or a value in it, is refused. Never contains a secret.
#[derive(Clone, Debug)]
pub struct YamlError {
    /// Where.
    pub place: Place,
    /// Full name of the key, such as `kafka.brokers`; empty outside of all.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl YamlError {
    /// Puts the key inside another one. Of a long one, the end is left out.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.key = match self.key.as_str() {
            "" => outer.to_owned(),
            inner if inner.len() > MAX_KEY => format!("{outer}.…"),
            inner => format!("{outer}.{inner}"),
        };
        self
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.key, self.message)
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        let (line, column) = (error.marker().line(), error.marker().col() + 1);
        Self { place: Place { line, column }, key: String::new(), message: error.info() }
    }
}

impl MapEntry {
    /// Refuses the key.
    pub(crate) fn error(&self, message: impl fmt::Display) -> YamlError {
        YamlError { place: self.place, key: self.key.clone(), message: message.to_string() }
    }
}

/// Reads the documents of a file as JSON in which every scalar is a text.
///
/// # Errors
/// A document is refused as in a configuration: it is not YAML, or a key is given twice.
pub fn documents(yaml: &str) -> Result<Vec<serde_json::Value>, YamlError> {
    let (mut documents, mut start, mut lines) = (Vec::new(), 0, 0);
    let ends = yaml.match_indices("---").map(|(at, _)| at);
    let ends = ends.filter(|at| *at == 0 || yaml[..*at].ends_with('\n'));
    for end in ends.chain([yaml.len()]) {
        let part = &yaml[start..end];
        let node = Node::parse(part).map_err(|mut error| {
            error.place.line += lines;
            error
        })?;
        if !matches!(node.content, Content::Null) {
            documents.push(node.to_json());
        }
        lines += part.matches('\n').count();
        start = end;
    }
    Ok(documents)
}

impl Node {
    fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.content {
            Content::Null => Value::Null,
            Content::Text(text) => Value::from(text.as_str()),
            Content::List(list) => list.iter().map(Self::to_json).collect(),
            Content::Map(map) => {
                let pair = |entry: &MapEntry| (entry.key.clone(), entry.value.to_json());
                Value::Object(map.iter().map(pair).collect())
            }
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// The text is not one document in YAML, a key is given twice, or aliases repeat too much.
    pub(crate) fn parse(yaml: &str) -> Result<Self, YamlError> {
        let mut options = Options::default();
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(yaml, options);
        let mut reader = Reader { parser, anchors: BTreeMap::new(), nodes: 0 };
        let mut document = None;
        loop {
            let (event, span) = reader.next()?;
            match event {
                Event::StreamEnd => return Ok(document.unwrap_or_default()),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                _ if document.is_some() => return Err(refusal(place(span), "a second document")),
                _ => document = Some(reader.node(event, span)?),
            }
        }
    }

    /// Returns the place of the key that a message begins with, such as `kafka.brokers: …`.
    pub(crate) fn place_of(&self, message: &str) -> Option<Place> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find_map(|entry| {
            let rest = message.strip_prefix(entry.key.as_str())?;
            match rest.strip_prefix('.') {
                Some(inner) => entry.value.place_of(inner),
                None => rest.starts_with([':', ' ']).then_some(entry.place),
            }
        })
    }

    /// Returns a text that is in no document.
    pub(crate) fn text(text: &str) -> Self {
        Self { place: Place::default(), content: Content::Text(text.to_owned()) }
    }

    /// Puts a value behind a key that is in no document.
    pub(crate) fn behind(self, key: String) -> Self {
        let place = Place::default();
        Self { place, content: Content::Map(vec![MapEntry { place, key, value: self }]) }
    }

    /// Where the value begins.
    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    /// Whether there is no value.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// Refuses the value.
    pub(crate) fn error(&self, message: impl fmt::Display) -> YamlError {
        refusal(self.place, message)
    }

    /// Values in this one, and itself.
    fn count(&self) -> usize {
        1 + match &self.content {
            Content::Null | Content::Text(_) => 0,
            Content::List(items) => items.iter().map(Self::count).sum(),
            Content::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
        }
    }
}

/// A mapping in a list of mappings.
#[derive(Clone, Debug)]
pub struct YamlRow {
    /// Where the mapping begins.
    pub place: Place,
    /// Its fields, in the order of the document; those without a value are left out.
    pub fields: Vec<YamlField>,
}

/// A field of a [`YamlRow`].
#[derive(Clone, Debug)]
pub struct YamlField {
    /// The key.
    pub key: String,
    /// The scalar as it is written, or those of a sequence.
    pub values: Vec<String>,
    /// Whether the value is a sequence.
    pub is_list: bool,
}

/// Reads a document that is a list of mappings. A mapping whose values are neither scalars nor
/// sequences of scalars is refused without the others.
///
/// # Errors
/// The text is not one document in YAML, or not a list.
pub fn rows(yaml: &str) -> Result<Vec<Result<YamlRow, YamlError>>, YamlError> {
    let document = Node::parse(yaml)?;
    match document.content {
        Content::Null => Ok(Vec::new()),
        Content::List(items) => Ok(items.into_iter().map(row).collect()),
        Content::Text(_) | Content::Map(_) => Err(document.error("expected a list of mappings")),
    }
}

fn row(node: Node) -> Result<YamlRow, YamlError> {
    let place = node.place;
    let Content::Map(entries) = node.content else { return Err(node.error("expected a mapping")) };
    let mut fields = Vec::with_capacity(entries.len());
    for MapEntry { key, value, .. } in entries {
        let place = value.place;
        let (nodes, is_list) = match value.content {
            Content::Null => continue,
            Content::List(items) => (items, true),
            _ => (vec![value], false),
        };
        let texts = nodes.into_iter().map(|node| match node.content {
            Content::Text(text) => Ok(text),
            _ => Err(refusal(place, "expected a text or a list of texts").within(&key)),
        });
        let values = texts.collect::<Result<_, _>>()?;
        fields.push(YamlField { key, values, is_list });
    }
    Ok(YamlRow { place, fields })
}

fn refusal(place: Place, message: impl fmt::Display) -> YamlError {
    YamlError { place, key: String::new(), message: message.to_string() }
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

/// Reads the parser's events. The parser limits the nesting.
struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        // Behind the end of the stream, only a caller that has not seen it asks again.
        self.parser.next_event().unwrap_or(Ok((Event::StreamEnd, Span::default())))
    }

    /// Reads the value that begins with an event.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, YamlError> {
        let place = place(span);
        let anchor = event.anchor_id();
        self.nodes += 1;
        let content = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if is_null(&text) => Content::Null,
            // Neither the kernel nor C libraries take such a text.
            Event::Scalar(text, ..) if text.contains('\0') => {
                return Err(refusal(place, "a text with a NUL character"));
            }
            Event::Scalar(text, ..) => Content::Text(text.into_owned()),
            Event::SequenceStart(..) => Content::List(self.items()?),
            Event::MappingStart(..) => Content::Map(self.entries()?),
            Event::Alias(id) => {
                // An alias inside its own anchor stands for nothing yet.
                let node = self.anchors.get(&id).cloned().unwrap_or_default();
                self.nodes += node.count();
                node.content
            }
            _ => return Err(refusal(place, "not a value")),
        };
        if self.nodes > MAX_NODES {
            return Err(refusal(place, format_args!("more than {MAX_NODES} values")));
        }
        let node = Node { place, content };
        if let Some(id) = anchor {
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn entries(&mut self) -> Result<Vec<MapEntry>, YamlError> {
        let mut entries = Vec::new();
        let mut keys = HashSet::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let place = place(span);
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(refusal(place, "expected a key")),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span).map_err(|error| error.within(&key))?;
            let entry = MapEntry { place, key, value };
            if !keys.insert(entry.key.clone()) {
                return Err(entry.error(format_args!("duplicate mapping key: {}", entry.key)));
            }
            match entry.value.content {
                Content::Map(inner) if entry.key == "<<" => merged.extend(inner),
                _ => entries.push(entry),
            }
        }
        // Keys of the mapping itself win over those of `<<`.
        entries.extend(merged.into_iter().filter(|entry: &MapEntry| !keys.contains(&entry.key)));
        Ok(entries)
    }
}

/// Whether a plain scalar stands for no value (YAML 1.2, core schema).
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_several_documents() {
        let yaml =
            "# first\na: [1, yes]\n---\n---\nb:\n  c: null\n  d: x---y\n--- \ne: |\n  text\n";
        let found: Vec<String> = documents(yaml).unwrap().iter().map(ToString::to_string).collect();
        let expected =
            [r#"{"a":["1","yes"]}"#, r#"{"b":{"c":null,"d":"x---y"}}"#, r#"{"e":"text\n"}"#];
        assert_eq!(found, expected);
        let error = documents("a: 1\n---\nb: [\n").unwrap_err();
        assert!(error.place.line >= 3, "{error:?}");
        assert_eq!(documents("a: 1\n---\na: 1\na: 2\n").unwrap_err().place.line, 4);
    }

    fn show(node: &Node) -> String {
        match &node.content {
            Content::Null => "-".to_owned(),
            Content::Text(text) => text.clone(),
            Content::List(items) => {
                format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Content::Map(entries) => {
                let entry = |entry: &MapEntry| format!("{}={}", entry.key, show(&entry.value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn reads_texts_as_they_are_written() {
        let yaml = "a: 007\nb: [yes, 1.50, 'null', null, ~]\nc:\n  d: \"x\\ty\"\n  e: |\n    f\n";
        let node = Node::parse(yaml).unwrap();
        assert_eq!(show(&node), "{a=007 b=[yes 1.50 null - -] c={d=x\ty e=f\n}}");
        assert_eq!(show(&Node::parse("# nothing\n").unwrap()), "-");
    }

    #[test]
    fn resolves_aliases_and_merge_keys() {
        let yaml = "a: &x {b: 1, c: 2}\nd: *x\ne:\n  <<: *x\n  b: 3\n";
        let node = Node::parse(yaml).unwrap();
        assert_eq!(show(&node), "{a={b=1 c=2} d={b=1 c=2} e={b=3 c=2}}");
    }

    #[test]
    fn errors_have_their_place_and_key() {
        let cases = [
            ("a:\n  b: 1\n  b: 2\n", "3:3 a.b: duplicate mapping key: b"),
            ("a: 1\n---\nb: 2\n", "3:1 a second document"),
            ("a:\n  ? [x]\n  : 1\n", "2:5 a: expected a key"),
        ];
        for (yaml, expected) in cases {
            let error = Node::parse(yaml).unwrap_err();
            let Place { line, column } = error.place;
            assert_eq!(format!("{line}:{column} {error}"), expected, "{yaml}");
        }
    }

    #[test]
    fn names_of_deep_keys_end() {
        let error =
            (0..1000).fold(refusal(Place::default(), "wrong"), |error, _| error.within("a"));
        let text = error.to_string();
        assert!(text.starts_with("a.") && text.ends_with(": wrong") && text.len() < 300, "{text}");
    }

    #[test]
    fn aliases_of_aliases_end() {
        let line = |n: usize| match n.checked_sub(1) {
            Some(before) => {
                format!("a{n}: &a{n} [{}]\n", vec![format!("*a{before}"); 10].join(", "))
            }
            None => "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        };
        let yaml: String = (0..20).map(line).collect();
        let error = Node::parse(&yaml).unwrap_err();
        assert!(error.message.starts_with("more than 100000 values"), "{error}");
        let deep = "[".repeat(100_000);
        assert!(Node::parse(&deep).is_err());
    }
}
