//! The compactor's command line, for `weir-compactor` and for `weir compactor` alike.

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;

/// What a command line says of a compactor; the later of two wins: file, named flags, overrides.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// A compactor.properties to read first.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The cluster to read from, host:port, or several with commas between (bootstrap.servers).
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_server: Option<String>,
    /// Folder or file:// URL below which the tables live (warehouse).
    #[arg(long, value_name = "DIR")]
    pub warehouse: Option<String>,
    /// Address of metrics, health and table states (http.listen).
    #[arg(long, value_name = "IP:PORT")]
    pub http: Option<String>,
    /// Any other setting; may be given again.
    #[arg(long = "override", value_name = "NAME=VALUE")]
    pub overrides: Vec<String>,
}

impl Arguments {
    /// The settings they ask for. The error is one line that names the setting and the remedy.
    pub fn config(&self) -> Result<Config, String> {
        let mut config = Config::default();
        if let Some(path) = &self.config {
            let place = path.display();
            let text = std::fs::read_to_string(path).map_err(|error| {
                format!("--config {place}: {error}; name a file that can be read")
            })?;
            config = Config::from_properties(&text).map_err(|error| format!("{place}: {error}"))?;
        }
        let flags = [
            ("bootstrap.servers", &self.bootstrap_server),
            ("warehouse", &self.warehouse),
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
