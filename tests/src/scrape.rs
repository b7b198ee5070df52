//! A scrape of `/metrics`, parsed (the text format of Prometheus, as far as Torc writes it).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::http;

/// All families of one process.
#[derive(Clone, Debug, Default)]
pub struct Scrape(pub BTreeMap<String, Family>);

/// One family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it says of itself.
    pub help: String,
    /// Labels and values; a histogram's parts have their suffix in the label `part`.
    pub samples: Vec<(BTreeMap<String, String>, f64)>,
}

impl Scrape {
    /// Asks a process.
    ///
    /// # Panics
    /// When it does not answer, or not in this format.
    pub fn of(address: SocketAddr) -> Scrape {
        let (status, body) = http::get(address, "/metrics").expect("/metrics answers");
        assert_eq!(status, 200, "{body}");
        Self::parse(&body)
    }

    fn parse(text: &str) -> Scrape {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a name and a text");
                families.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                families.entry(name.to_owned()).or_default().kind = kind.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series and a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let mut labels = labels_of(labels.trim_end_matches('}'));
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                    let family = name.strip_suffix(suffix)?;
                    families.get(family).filter(|family| family.kind == "histogram")?;
                    labels.insert("part".to_owned(), suffix[1..].to_owned());
                    Some(family)
                });
                let family =
                    families.get_mut(family.unwrap_or(name)).expect("a type comes before its samples");
                family.samples.push((labels, value.parse().expect("a number")));
            }
        }
        Scrape(families)
    }

    /// Sum of a family's samples that have these labels (and no parts of a histogram but the count).
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let Some(family) = self.0.get(name) else { return 0.0 };
        let fits = |sample: &BTreeMap<String, String>| {
            sample.get("part").is_none_or(|part| part == "count")
                && labels.iter().all(|(key, value)| sample.get(*key).is_some_and(|found| found == value))
        };
        family.samples.iter().filter(|(labels, _)| fits(labels)).map(|(_, value)| value).sum()
    }
}

fn labels_of(text: &str) -> BTreeMap<String, String> {
    // No label value of Torc has a comma between quotes followed by a name and `="`, so this split is safe.
    let pairs = text.split("\",").map(|pair| pair.trim_end_matches('"'));
    pairs.filter_map(|pair| pair.split_once("=\"")).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

impl Family {
    /// Adds what another process says of the same family.
    pub fn merge(&mut self, other: Family) {
        self.kind = other.kind;
        self.help = other.help;
        self.samples.extend(other.samples);
    }

    /// Names of its labels, without those of a histogram's parts.
    pub fn labels(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.samples.iter().flat_map(|(labels, _)| labels.keys().cloned()).collect();
        names.retain(|name| name != "le" && name != "part");
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_told_apart() {
        let text = "# HELP a_total All.\n# TYPE a_total counter\na_total{x=\"1\",y=\"b,c\"} 3\na_total{x=\"2\",y=\"\"} 4\n\
                    # HELP s Times.\n# TYPE s histogram\ns_bucket{le=\"1\"} 1\ns_bucket{le=\"+Inf\"} 2\ns_sum 5\ns_count 2\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.sum("a_total", &[]), 7.0);
        assert_eq!(scrape.sum("a_total", &[("y", "b,c")]), 3.0);
        assert_eq!(scrape.sum("s", &[]), 2.0);
        assert_eq!(scrape.0["a_total"].labels(), ["x", "y"]);
        assert_eq!(scrape.0["s"].labels(), Vec::<String>::new());
        assert_eq!(scrape.0["s"].help, "Times.");
    }
}
