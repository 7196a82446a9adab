//! `status`: asks the running voter.

use crate::voter::config::VoterConfig;
use crate::voter::status::Status;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use reqwest::Url;
use std::path::Path;

/// The status of the voter with this configuration.
pub async fn status(config_file: &Path) -> Result<Status, Failure> {
    let config: VoterConfig = files::load(config_file).map_err(Failure::usage)?;
    let address = match config.listen.address_file() {
        Some(file) => bounded::read_text(file).map_err(|why| not_running(&why))?.trim().to_owned(),
        None => config.listen.address().to_string(),
    };
    let url = Url::parse(&format!("http://{address}/")).map_err(Failure::failed)?;
    HubClient::new(url).get_json("status", &[]).await.map_err(|why| not_running(&why))
}

fn not_running(why: &dyn std::fmt::Display) -> Failure {
    Failure::not_now(format_args!("the voter does not answer: {why}"))
        .hint("start it with `palisade-finality-provider run --config FILE`")
}
