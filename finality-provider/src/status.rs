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
    let mut status = HubClient::new(url).get_json("status", &[]).await.map_err(|why| not_running(&why))?;
    say_what_registers(&mut status, config_file);
    Ok(status)
}

/// Gives keys that are not registered the command that registers them, from whatever directory.
fn say_what_registers(status: &mut Status, config_file: &Path) {
    let config = std::path::absolute(config_file).unwrap_or_else(|_| config_file.to_owned());
    for own in status.chains.iter_mut().filter(|own| own.key.is_some() && !own.registered) {
        own.register = Some(format!(
            "palisade-finality-provider register --chain {} --operator \"YOUR NAME\" --config '{}'",
            own.chain,
            config.display()
        ));
    }
}

fn not_running(why: &dyn std::fmt::Display) -> Failure {
    Failure::not_now(format_args!("the voter does not answer: {why}"))
        .hint("start it with `palisade-finality-provider run --config FILE`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_world::provider_key;
    use serde_json::{Value, json};

    #[test]
    fn a_key_that_is_not_registered_is_shown_with_the_command_that_registers_it() {
        let chain = |name: &str, key: Option<&str>, registered: bool| {
            json!({
                "chain": name, "key": key.map(provider_key), "registered": registered, "exposed": false, "power_sat": 0,
                "votes": 0, "missed": 0, "last_vote": null, "last_final": null, "member_of": null,
                "in_newest_set": false, "epochs_committed": 0, "committed_to": null, "waiting": null,
            })
        };
        let chains = [
            chain("zero", Some("anna"), true),
            chain("dev", Some("dev anna"), false),
            chain("x", None, false),
        ];
        let mut status: Status = serde_json::from_value(json!({
            "hub": "00".repeat(32), "height": 5, "not_judged": null, "signer": null, "chains": chains, "refusals": [],
        }))
        .unwrap();
        say_what_registers(&mut status, Path::new("/a place/voter.toml"));
        let command = "palisade-finality-provider register --chain dev --operator \"YOUR NAME\" \
                       --config '/a place/voter.toml'";
        let said = status.to_string();
        assert!(said.contains(&format!("(not registered)\n  next     {command}\n")), "{said}");
        assert_eq!(said.matches("register --chain").count(), 1, "{said}");
        let shown = serde_json::to_value(&status).unwrap();
        let commands: Vec<_> = (0..3).map(|at| &shown["chains"][at]["register"]).collect();
        assert_eq!(commands, [&Value::Null, &json!(command), &Value::Null]);
    }
}
