//! Files of nodes: JSON and CSV.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Node;
use crate::Result;

/// A file for the nodes that were found; its name says in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    path: PathBuf,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let path = PathBuf::from(text);
        let form = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Form::Json,
            Some("csv") => Form::Csv,
            _ => return Err("the name must end in .json or .csv".into()),
        };
        Ok(Self { path, form })
    }
}

impl Output {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the file can be written, before a long crawl that would be for nothing. What
    /// an earlier one found stays there until something takes its place.
    ///
    /// # Errors
    /// Which file cannot be written, and why.
    pub fn create(&self) -> Result<()> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path);
        opened.map(drop).map_err(|error| self.error(&error))
    }

    /// Writes the nodes, in place of what is there.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn write(&self, nodes: &[Node]) -> Result<()> {
        let file = File::create(&self.path).map_err(|error| self.error(&error))?;
        let mut file = BufWriter::new(file);
        let written = match self.form {
            Form::Json => write_json(nodes, &mut file),
            Form::Csv => write_csv(nodes, &mut file),
        };
        written.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &dyn std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
        format!("{}: {error}", self.path.display()).into()
    }
}

fn write_json(nodes: &[Node], mut out: impl Write) -> Result<()> {
    serde_json::to_writer_pretty(&mut out, nodes)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

fn write_csv(nodes: &[Node], out: impl Write) -> Result<()> {
    let mut table = csv::Writer::from_writer(out);
    for node in nodes {
        let mut node = node.clone();
        node.user_agent = node.user_agent.map(no_formula);
        table.serialize(node)?;
    }
    Ok(table.flush()?)
}

/// Text of a peer that a spreadsheet would compute is marked as text.
fn no_formula(text: String) -> String {
    match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(user_agent: &str) -> Node {
        Node {
            address: "[2001:db8::1]:8333".parse().unwrap(),
            user_agent: Some(user_agent.into()),
            version: Some(70016),
            services: Some(1),
            height: Some(-1),
            latency_ms: Some(0.25),
            addresses: 2,
            error: None,
        }
    }

    fn csv_of(node: Node) -> String {
        let mut out = Vec::new();
        write_csv(&[node], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_has_a_header_and_a_line_for_each_node() {
        assert_eq!(
            csv_of(node("/a, \"b\"/")),
            "address,user_agent,version,services,height,latency_ms,addresses,error\n\
             [2001:db8::1]:8333,\"/a, \"\"b\"\"/\",70016,1,-1,0.25,2,\n"
        );
    }

    #[test]
    fn no_agent_is_computed_by_a_spreadsheet() {
        assert!(csv_of(node("=1+1")).contains(",'=1+1,"));
    }

    #[test]
    fn what_was_found_before_stays_until_something_is_written() {
        let name = format!("p2p-crawl-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        let output: Output = path.to_str().unwrap().parse().unwrap();
        let text = || std::fs::read_to_string(&path).unwrap();
        output.create().unwrap();
        assert_eq!(text(), "");
        output.write(&[node("/a/")]).unwrap();
        let before = text();
        output.create().unwrap();
        assert_eq!(text(), before);
        output.write(&[]).unwrap();
        assert_eq!(text(), "[]\n");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_name_says_the_form() {
        assert!("nodes.json".parse::<Output>().is_ok());
        assert!("nodes.csv".parse::<Output>().is_ok());
        assert!("nodes.xml".parse::<Output>().is_err());
    }
}
