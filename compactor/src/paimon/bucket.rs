//! A row finds its bucket: Paimon's `default` bucket function, byte for byte. PURE.
//!
//! Readers prune buckets by this function, so a row in a wrong bucket is a lost row.

use crate::binary_row::BinaryRow;

const SEED: u32 = 42;

/// The bucket of a row with this bucket key, of `buckets` (more than 0).
pub fn bucket_of(key: &BinaryRow, buckets: i32) -> i32 {
    assert!(buckets > 0, "a table of {buckets} buckets has no bucket for a key");
    (hash(key) % buckets).abs()
}

/// Paimon's hash of a row: Murmur3 over its bytes without the arity.
pub fn hash(key: &BinaryRow) -> i32 {
    murmur3(key.row_bytes()).cast_signed()
}

/// Murmur3, 32 bits, of bytes whose length is a multiple of 4 (rows are of 8).
fn murmur3(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    debug_assert!(rest.is_empty(), "a row is made of whole words");
    let mut hash = SEED;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(0xcc9e_2d51);
        mixed = mixed.rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary_row::tests::golden_vectors;

    #[test]
    fn every_golden_vector_finds_the_bucket_that_java_gave_it() {
        for vector in golden_vectors() {
            let row = vector.row();
            assert_eq!(hash(&row), vector.hash, "{}", vector.name);
            if let Some((of_4, of_7)) = vector.buckets {
                assert_eq!(
                    (bucket_of(&row, 4), bucket_of(&row, 7)),
                    (of_4, of_7),
                    "{}",
                    vector.name
                );
            }
        }
    }
}
