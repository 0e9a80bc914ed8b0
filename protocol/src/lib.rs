//! What Kafka's bytes mean.
