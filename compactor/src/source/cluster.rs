//! A cluster: where to begin asking, and one connection to each broker, made when it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::source::client::{Client, ClientError};

/// Connections to the brokers of one cluster. A broker whose connection was lost is connected to
/// again at the next call; waiting between the tries is the caller's.
#[derive(Debug)]
pub struct Cluster {
    bootstrap: Vec<String>,
    client_id: String,
    clients: Mutex<BTreeMap<String, Arc<Client>>>,
}

impl Cluster {
    /// A cluster by `host:port[,host:port]...`; nothing is connected yet.
    pub fn new(bootstrap_servers: &str, client_id: &str) -> Cluster {
        let addresses = bootstrap_servers.split(',').map(str::trim).filter(|it| !it.is_empty());
        Cluster {
            bootstrap: addresses.map(str::to_owned).collect(),
            client_id: client_id.to_owned(),
            clients: Mutex::default(),
        }
    }

    /// The same cluster over connections of its own: a long poll holds up its connection.
    pub fn apart(&self) -> Cluster {
        Cluster {
            bootstrap: self.bootstrap.clone(),
            client_id: self.client_id.clone(),
            clients: Mutex::default(),
        }
    }

    /// The first of the bootstrap brokers that can be reached.
    pub async fn any(&self) -> Result<Arc<Client>, ClientError> {
        let mut failed = ClientError::Connect {
            address: "bootstrap.servers".into(),
            reason: "no address is given".into(),
        };
        for address in &self.bootstrap {
            match self.at(address).await {
                Ok(client) => return Ok(client),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The broker at an address.
    pub async fn at(&self, address: &str) -> Result<Arc<Client>, ClientError> {
        let known = self.clients().get(address).filter(|client| !client.is_closed()).cloned();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = Arc::new(Client::connect(address, &self.client_id).await?);
        self.clients().insert(address.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
