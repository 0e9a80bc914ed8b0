//! The broker's command line, for `weir-broker` and for `weir broker` alike.

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;

/// What a command line says of a broker; the later of two wins: file, named flags, overrides.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// Settings in Kafka's server.properties format.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for the logs (log.dirs).
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where to listen (listeners), for instance PLAINTEXT://127.0.0.1:9092.
    #[arg(long, value_name = "LISTENERS")]
    pub listeners: Option<String>,
    /// Where to serve metrics and health (http.listen).
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<String>,
    /// Any setting, as name=value; may be repeated.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    pub overrides: Vec<String>,
}

impl Arguments {
    /// The settings they ask for. The error is one line that names the setting and the remedy.
    pub fn config(&self) -> Result<Config, String> {
        let mut config = match &self.config {
            None => Config::default(),
            Some(path) => {
                let place = path.display();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    format!("--config {place}: {error}; name a file that can be read")
                })?;
                Config::from_properties(&text).map_err(|error| format!("{place}: {error}"))?
            }
        };
        let flags = [
            ("log.dirs", &self.data_dir),
            ("listeners", &self.listeners),
            ("http.listen", &self.http),
        ];
        for (name, value) in flags {
            if let Some(value) = value {
                config.set(name, value).map_err(|error| error.to_string())?;
            }
        }
        for given in &self.overrides {
            let (name, value) = given
                .split_once('=')
                .ok_or_else(|| format!("--override {given}: expected name=value"))?;
            config.set(name.trim(), value).map_err(|error| error.to_string())?;
        }
        Ok(config)
    }
}
