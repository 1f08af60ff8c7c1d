//! What the nodes of a crawl have in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Node;

/// Agents and reasons in the text; the rest is one line.
const MOST: usize = 12;

/// What the nodes of a crawl have in common. `Display` is a table for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// Addresses visited.
    pub visited: usize,
    /// Nodes that shook hands.
    pub reached: usize,
    /// How many nodes have which agent, the most frequent first.
    pub user_agents: Vec<Count>,
    /// How many were not reached for which reason, the most frequent first.
    pub errors: Vec<Count>,
    /// The heights of the nodes.
    pub height: Option<Spread<i32>>,
    /// The round-trip times, in milliseconds.
    pub latency_ms: Option<Spread<f64>>,
}

/// How many nodes have something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many.
    pub nodes: usize,
    /// What.
    pub name: String,
}

/// Numbers, in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread<T> {
    /// The smallest.
    pub least: T,
    /// As many are smaller as are larger.
    pub median: T,
    /// The largest.
    pub most: T,
}

impl Survey {
    /// What these nodes have in common.
    pub fn of(nodes: &[Node]) -> Self {
        let mut latencies: Vec<_> = nodes.iter().filter_map(|node| node.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let mut heights: Vec<_> = nodes.iter().filter_map(|node| node.height).collect();
        heights.sort_unstable();
        Self {
            visited: nodes.len(),
            reached: nodes.iter().filter(|node| node.is_reached()).count(),
            user_agents: count(nodes.iter().filter_map(|node| node.user_agent.as_deref())),
            errors: count(nodes.iter().filter_map(|node| node.error.as_deref())),
            height: Spread::of(&heights),
            latency_ms: Spread::of(&latencies),
        }
    }
}

impl<T: Copy> Spread<T> {
    fn of(sorted: &[T]) -> Option<Self> {
        Some(Self {
            least: *sorted.first()?,
            median: *sorted.get(sorted.len() / 2)?,
            most: *sorted.last()?,
        })
    }
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Count> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let count = |(name, nodes): (&str, usize)| Count {
        nodes,
        name: name.to_owned(),
    };
    let mut counts: Vec<_> = counts.into_iter().map(count).collect();
    // Stable: of equals, the first by name stays first.
    counts.sort_by_key(|count| std::cmp::Reverse(count.nodes));
    counts
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            visited, reached, ..
        } = self;
        write!(f, "addresses visited: {visited}, nodes reached: {reached}")?;
        table(f, "user agent", &self.user_agents)?;
        table(f, "not reached", &self.errors)?;
        if self.height.is_some() || self.latency_ms.is_some() {
            writeln!(f)?;
        }
        if let Some(Spread {
            least,
            median,
            most,
        }) = self.height
        {
            write!(f, "\n  height   median {median}, from {least} to {most}")?;
        }
        if let Some(Spread {
            least,
            median,
            most,
        }) = self.latency_ms
        {
            write!(
                f,
                "\n  latency  median {median:.1} ms, from {least:.1} to {most:.1} ms"
            )?;
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, title: &str, counts: &[Count]) -> fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    write!(f, "\n\n  {:>6}  {title}", "nodes")?;
    for Count { nodes, name } in counts.iter().take(MOST) {
        write!(f, "\n  {nodes:>6}  {name}")?;
    }
    if let Some(rest) = counts.get(MOST..)
        && !rest.is_empty()
    {
        let nodes: usize = rest.iter().map(|count| count.nodes).sum();
        write!(f, "\n  {nodes:>6}  of {} other kinds", rest.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(user_agent: Option<&str>, height: i32) -> Node {
        Node {
            address: "192.0.2.1:8333".parse().unwrap(),
            user_agent: user_agent.map(str::to_owned),
            version: None,
            services: None,
            height: user_agent.map(|_| height),
            latency_ms: user_agent.map(|_| 1.0),
            addresses: 0,
            error: user_agent.is_none().then(|| "connection refused".into()),
        }
    }

    #[test]
    fn the_most_frequent_comes_first() {
        let nodes = [
            node(Some("/a/"), 5),
            node(None, 0),
            node(Some("/b/"), 7),
            node(Some("/b/"), 9),
        ];
        let text = Survey::of(&nodes).to_string();
        assert_eq!(
            text,
            "addresses visited: 4, nodes reached: 3\n\n   nodes  user agent\n       2  /b/\n       1  /a/\
             \n\n   nodes  not reached\n       1  connection refused\
             \n\n  height   median 7, from 5 to 9\n  latency  median 1.0 ms, from 1.0 to 1.0 ms"
        );
    }

    #[test]
    fn of_many_kinds_the_rest_is_one_line() {
        let nodes: Vec<_> = (0..20).map(|n| node(Some(&format!("/{n}/")), n)).collect();
        let text = Survey::of(&nodes).to_string();
        assert!(text.contains("       8  of 8 other kinds"), "{text}");
    }

    #[test]
    fn nothing_found_is_one_line() {
        let text = Survey::of(&[]).to_string();
        assert_eq!(text, "addresses visited: 0, nodes reached: 0");
    }
}
