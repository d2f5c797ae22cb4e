//! Public keys as they stand in a PEM file (SubjectPublicKeyInfo, RFC 5280 §4.1.2.7), and what a key
//! has to be to be good for a signature.

use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use crate::config::faults::Malformed;
use crate::config::values::{Algorithm, KeyMaterial, VerifyingKey};

/// The least length of a shared secret, in bytes (RFC 7518 §3.2).
const LEAST_SECRET: usize = 32;
/// Lengths of an RSA modulus, in bits: the least is that of RFC 7518 §3.3.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The longest RSA exponent, in bits: longer ones only cost time.
const EXPONENT_BITS: usize = 33;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// `rsaEncryption` with its NULL (RFC 3279 §2.3.1).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// `id-ecPublicKey` with `secp256r1` (RFC 5480 §2.1.1).
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// The one public key in the PEM `text`.
pub(super) fn public_key(text: &str) -> Result<VerifyingKey, Malformed> {
    let keys: Result<Vec<_>, _> =
        SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()).collect();
    let help = "one `-----BEGIN PUBLIC KEY-----`, as `openssl pkey -pubout` writes it";
    let der = match keys.as_deref() {
        Ok([der]) => der,
        Ok([_, ..]) => return Err(Malformed::new("names a file with several keys", help)),
        _ => {
            return Err(Malformed::new(
                "names a file without a public key in PEM",
                help,
            ));
        }
    };
    let unfit = || {
        let help = "an RSA key, or one on the curve P-256 with its point uncompressed";
        Malformed::new("names a public key of an unknown kind", help)
    };
    let (kind, bits) = info(der).ok_or_else(unfit)?;
    let (algorithm, material) = match kind {
        RSA => {
            let (modulus, exponent) = rsa_numbers(bits).ok_or_else(unfit)?;
            (Algorithm::Rs256, rsa(modulus, exponent)?)
        }
        P256 => (Algorithm::Es256, point(bits)?),
        _ => return Err(unfit()),
    };
    Ok(VerifyingKey {
        id: None,
        algorithm,
        material,
    })
}

/// A shared secret, if it is long enough.
pub(super) fn shared(secret: &[u8]) -> Result<KeyMaterial, Malformed> {
    if secret.len() < LEAST_SECRET {
        let message = format!("is a secret of {} bytes", secret.len());
        let help = format!("at least {LEAST_SECRET} bytes: `openssl rand -hex 32` makes one");
        return Err(Malformed::new(message, help));
    }
    Ok(KeyMaterial::Shared(secret.into()))
}

/// An RSA key from modulus and exponent, big-endian, if it is a good one.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<KeyMaterial, Malformed> {
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let length = bits(modulus);
    if !RSA_BITS.contains(&length) {
        let message = format!("is an RSA key of {length} bits");
        let help = format!("from {} to {} bits", RSA_BITS.start(), RSA_BITS.end());
        return Err(Malformed::new(message, help));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(modulus) || !odd(exponent) || exponent == [1] || bits(exponent) > EXPONENT_BITS {
        let help = "a key with the exponent 65537, as every tool makes it";
        return Err(Malformed::new("is no usable RSA key", help));
    }
    Ok(KeyMaterial::Rsa(modulus.into(), exponent.into()))
}

/// A key on P-256 from its uncompressed point, if that lies on the curve.
pub(super) fn point(point: &[u8]) -> Result<KeyMaterial, Malformed> {
    // ring checks a point where a secret is agreed on, and nowhere else before a signature comes.
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    let lies_on_it = own.and_then(|own| agree_ephemeral(own, &theirs, |_| ()));
    if lies_on_it.is_err() {
        let help = "an uncompressed point on the curve P-256";
        return Err(Malformed::new("is no point on its curve", help));
    }
    Ok(KeyMaterial::Point(point.into()))
}

/// What kind of key it is, and its bits.
fn info(mut der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inside = only(&mut der, SEQUENCE)?;
    let kind = element(&mut inside, SEQUENCE)?;
    let bits = only(&mut inside, BIT_STRING)?;
    let (0, bits) = bits.split_first()? else {
        return None;
    };
    Some((kind, bits))
}

/// Modulus and exponent (RFC 8017 A.1.1).
fn rsa_numbers(mut der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut inside = only(&mut der, SEQUENCE)?;
    let modulus = element(&mut inside, INTEGER)?;
    let exponent = only(&mut inside, INTEGER)?;
    let positive = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 == 0);
    (positive(modulus) && positive(exponent)).then_some((modulus, exponent))
}

/// The element `tag` and nothing behind it.
fn only<'d>(der: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    element(der, tag).filter(|_| der.is_empty())
}

/// The contents of the element `tag` at the head of `der`, which is moved behind it (X.690 §10.1: the
/// length is definite and in the fewest bytes).
fn element<'d>(der: &mut &'d [u8], tag: u8) -> Option<&'d [u8]> {
    let (head, rest) = der.split_at_checked(2)?;
    if head[0] != tag {
        return None;
    }
    let (length, rest) = match head[1] {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ (0x81 | 0x82) => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            let fewest = if digits.len() == 1 { 0x80 } else { 0x100 };
            (length >= fewest).then_some((length, rest))?
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some(contents)
}

fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - unused as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_measured_without_their_zeros() {
        assert_eq!(bits(significant(&[0, 0, 1, 0])), 9);
        assert_eq!(bits(significant(&[0x80])), 8);
        assert_eq!(bits(significant(&[0])), 0);
    }

    #[test]
    fn lengths_are_written_in_one_way() {
        let read = |mut der: &[u8]| element(&mut der, SEQUENCE).map(<[u8]>::len);
        assert_eq!(read(b"\x30\x02ab"), Some(2));
        assert_eq!(read(b"\x30\x81\x02ab"), None);
        assert_eq!(read(b"\x30\x82\x00\x02ab"), None);
        assert_eq!(read(b"\x30\x80ab\x00\x00"), None);
        assert_eq!(read(b"\x30\x03ab"), None);
        assert_eq!(read(b"\x31\x02ab"), None);
        let long = [b"\x30\x81\x80".as_slice(), &[0; 128]].concat();
        assert_eq!(read(&long), Some(128));
    }

    proptest! {
        #[test]
        fn whatever_is_there_is_read_or_refused(
            der in prop::collection::vec(any::<u8>(), 0..80),
            changed in 0..91_usize,
            byte in any::<u8>(),
        ) {
            let _ = info(&der);
            let _ = rsa_numbers(&der);
            let mut good = [b"\x30\x59\x30\x13".as_slice(), P256, b"\x03\x42\x00\x04", &[7; 64]].concat();
            prop_assert_eq!(info(&good).unwrap().0, P256);
            good[changed] = byte;
            let _ = info(&good);
            let _ = public_key(&String::from_utf8_lossy(&der));
        }
    }
}
