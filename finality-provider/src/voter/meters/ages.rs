//! How long ago something happened, counted when somebody asks: a task that hangs makes it grow.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Seconds since something happened last, by chain.
#[derive(Debug, Clone)]
pub struct Ages {
    seconds: IntGaugeVec,
    last: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Ages {
    /// Of no chain yet.
    pub fn new(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self { seconds: IntGaugeVec::new(Opts::new(name, help), &["chain"])?, last: Arc::default() })
    }

    /// A chain on which it is to happen: counted from now, unless it is counted already.
    pub fn begin(&self, chain: &str) {
        self.last().entry(chain.to_owned()).or_insert_with(Instant::now);
    }

    /// It happens on a chain.
    pub fn happens(&self, chain: &str) {
        self.last().insert(chain.to_owned(), Instant::now());
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Ages {
    fn desc(&self) -> Vec<&Desc> {
        self.seconds.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (chain, at) in self.last().iter() {
            let seconds = i64::try_from(at.elapsed().as_secs()).unwrap_or(i64::MAX);
            self.seconds.with_label_values(&[chain.as_str()]).set(seconds);
        }
        self.seconds.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shown(ages: &Ages) -> Vec<(String, f64)> {
        let families = ages.collect();
        let all = families.iter().flat_map(MetricFamily::get_metric);
        all.map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_gauge().get_value())).collect()
    }

    #[test]
    fn an_age_grows_by_itself_and_is_nothing_when_it_happens() {
        let ages = Ages::new("seconds_since_x", "X.").unwrap();
        assert_eq!(shown(&ages), []);
        ages.begin("zero");
        assert_eq!(shown(&ages), [("zero".to_owned(), 0.0)]);
        let back = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
        ages.last().insert("zero".to_owned(), back);
        ages.begin("zero");
        assert_eq!(shown(&ages), [("zero".to_owned(), 90.0)]);
        ages.happens("zero");
        assert_eq!(shown(&ages), [("zero".to_owned(), 0.0)]);
    }
}
