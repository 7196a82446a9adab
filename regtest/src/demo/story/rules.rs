//! Step 1.4: what all that was told under. Told late, because mining has a rule from the first block to the last; the report
//! is not written unless the whole log keeps it, up to its end.

use super::Story;
use anyhow::Context as _;

impl Story {
    pub(super) async fn rules_were_kept(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("1.4").await?;
        let params = self.network.view("params").await?;
        let own = params[0].get("params").context("parameters")?;
        self.tell.line(format!(
            "parameters of the demo's column: k {}, w {}, sets live {} blocks, unbonding {}, stakes {} to {} blocks, lapse after {}",
            own["k"],
            own["w"],
            own["set_lifetime_blocks"],
            own["unbonding_blocks"],
            own["min_lock_blocks"],
            own["max_lock_blocks"],
            own["lapse_blocks"],
        ));
        step.refs.push("params/0".to_owned());
        let began = self.final_now().await?;
        for (chain, height) in self.further(&began, 1).await? {
            step.refs.push(self.report.finality(&chain, height));
        }
        let claim = "Parameters are the demo's column; no block was mined unless every set in use had ten more to live";
        self.done(step, claim).await
    }
}
