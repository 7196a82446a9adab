//! What a process says about itself: health for people and probes, metrics for Prometheus.
//!
//! A degraded process still answers 200: an outage of its node or hub is a state of the program, and a supervisor
//! that restarts on it would only make it worse. Alerts belong on the metric `palisade_degraded`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::network::Network;

/// The health of one process, shared by all its tasks, and the registry of its metrics.
#[derive(Debug, Clone)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    process: &'static str,
    version: &'static str,
    network: Network,
    registry: Registry,
    degraded: IntGauge,
    alarms: IntGaugeVec,
    /// The present reasons, by their part of the process.
    reasons: Mutex<BTreeMap<&'static str, String>>,
}

/// The answer of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// Whether anything is wrong.
    pub status: Status,
    /// What is wrong, each beginning with the part of the process that it is about.
    pub reasons: Vec<String>,
    /// The name of the process, for example `palisade-covenant`.
    pub process: String,
    /// Its version.
    pub version: String,
    /// The Bitcoin network it works on.
    pub network: String,
}

/// Whether a process can do all of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It can.
    Ok,
    /// It runs, and something that it needs is missing.
    Degraded,
}

impl Health {
    /// The health of a process that has nothing to complain of. Fails only if the metrics' names were malformed.
    pub fn new(
        process: &'static str,
        version: &'static str,
        network: Network,
    ) -> Result<Self, prometheus::Error> {
        // The registry puts the prefix before every name, so no metric of ours can lack it.
        let registry = Registry::new_custom(Some("palisade".to_owned()), None)?;
        let about = Opts::new("info", "Always 1; the labels say which process this is.")
            .const_label("process", process)
            .const_label("version", version)
            .const_label("network", network.to_string());
        let info = IntGauge::with_opts(about)?;
        info.set(1);
        let degraded = IntGauge::new("degraded", "How many reasons /health gives for being degraded.")?;
        let about = Opts::new("alarm", "1 while this part of the process is degraded; /health says why.");
        let alarms = IntGaugeVec::new(about, &["part"])?;
        registry.register(Box::new(info))?;
        registry.register(Box::new(degraded.clone()))?;
        registry.register(Box::new(alarms.clone()))?;
        let reasons = Mutex::default();
        Ok(Self {
            shared: Arc::new(Shared { process, version, network, registry, degraded, alarms, reasons }),
        })
    }

    /// Says that `part` of the process is degraded; a second reason for the same part replaces the first.
    pub fn degrade(&self, part: &'static str, reason: impl ToString) {
        let mut reasons = self.reasons();
        reasons.insert(part, reason.to_string());
        self.shared.alarms.with_label_values(&[part]).set(1);
        self.count(&reasons);
    }

    /// Says that `part` is well again.
    pub fn recover(&self, part: &'static str) {
        let mut reasons = self.reasons();
        reasons.remove(part);
        self.shared.alarms.with_label_values(&[part]).set(0);
        self.count(&reasons);
    }

    /// What `/health` answers now.
    pub fn report(&self) -> HealthReport {
        let reasons: Vec<_> =
            self.reasons().iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
        HealthReport {
            status: if reasons.is_empty() { Status::Ok } else { Status::Degraded },
            reasons,
            process: self.shared.process.to_owned(),
            version: self.shared.version.to_owned(),
            network: self.shared.network.to_string(),
        }
    }

    /// Where a process registers its metrics, named without the prefix `palisade_`, which is added on the way out.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// What `/metrics` answers now, in Prometheus' text format.
    pub fn metrics(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.shared.registry.gather())
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // Nothing panics while it holds the map, and a half-made change to it does not exist.
        self.shared.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, reasons: &BTreeMap<&'static str, String>) {
        self.shared.degraded.set(i64::try_from(reasons.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new("palisade-test", "1.2.3", bitcoin::Network::Regtest.into()).unwrap()
    }

    #[test]
    fn reasons_come_and_go_by_their_part() {
        let health = health();
        assert_eq!(health.report().status, Status::Ok);
        health.degrade("hub", "connection refused");
        health.clone().degrade("bitcoind", "no answer");
        health.degrade("bitcoind", "still no answer");
        let report = health.report();
        assert_eq!(report.status, Status::Degraded);
        assert_eq!(report.reasons, ["bitcoind: still no answer", "hub: connection refused"]);
        assert!(health.metrics().unwrap().contains("\npalisade_degraded 2\n"));
        assert!(health.metrics().unwrap().contains("\npalisade_alarm{part=\"hub\"} 1\n"));
        health.recover("bitcoind");
        health.recover("never named");
        health.recover("hub");
        assert_eq!(health.report().status, Status::Ok);
        assert!(health.metrics().unwrap().contains("\npalisade_degraded 0\n"));
        assert!(health.metrics().unwrap().contains("\npalisade_alarm{part=\"hub\"} 0\n"));
    }

    #[test]
    fn the_report_has_the_documented_form() {
        let health = health();
        health.degrade("hub", "down");
        let json = serde_json::to_string(&health.report()).unwrap();
        let expected = concat!(
            r#"{"status":"degraded","reasons":["hub: down"],"process":"palisade-test","version":"1.2.3","#,
            r#""network":"regtest"}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn every_metric_bears_our_prefix() {
        let health = health();
        let votes = IntGauge::new("votes_total", "Votes.").unwrap();
        health.registry().register(Box::new(votes.clone())).unwrap();
        votes.set(3);
        let text = health.metrics().unwrap();
        let info = r#"palisade_info{network="regtest",process="palisade-test",version="1.2.3"} 1"#;
        assert!(text.contains(info), "{text}");
        assert!(text.contains("\npalisade_votes_total 3\n"), "{text}");
        let names = text.lines().filter(|line| !line.starts_with('#'));
        assert!(
            names.clone().count() == 3 && names.clone().all(|line| line.starts_with("palisade_")),
            "{text}"
        );
    }
}
