//! The official vectors of the envelope, the computed ones, and what must be refused.
//!
//! Each official one is checked in both directions, to the byte.

use super::*;
use proptest::prelude::*;

struct Vector {
    token: &'static str,
    key: &'static str,
    timestamp: &'static str,
    nonce: &'static str,
    receiver: &'static str,
    signature: &'static str,
    aes_key: &'static str,
    random: &'static str,
    encrypt: &'static str,
    plain: &'static str,
}

impl Vector {
    fn envelopes(&self) -> Envelopes {
        Envelopes::new(self.token, self.key, self.receiver).unwrap()
    }

    fn stamp(&self) -> Stamp<'_> {
        Stamp { signature: self.signature, timestamp: self.timestamp, nonce: self.nonce }
    }
}

/// The official ones, in the order of DingTalk's documentation and samples.
const OFFICIAL: [Vector; 4] = [
    Vector {
        token: "123456",
        key: "4g5j64qlyl3zvetqxz5jiocdr586fn2zvjpa8zls3ij",
        timestamp: "1445827045067",
        nonce: "nEXhMP4r",
        receiver: "suite4xxxxxxxxxxxxxxx",
        signature: "5a65ceeef9aab2d149439f82dc191dd6c5cbe2c0",
        aes_key: "e20e63eb8aa5ca5df3bdeb6ac73e638a871daf9f3a7e7db3be3a5af3396cde28",
        random: "hU3bEfGZZewzhG5a",
        encrypt: "1a3NBxmCFwkCJvfoQ7WhJHB+iX3qHPsc9JbaDznE1i03peOk1LaOQoRz3+nlyGNhwmwJ3vDMG+OzrHMeiZI7gTRWVdUBmfxjZ8Ej23JVYa9VrYeJ5as7XM/ZpulX8NEQis44w53h1qAgnC3PRzM7Zc/D6Ibr0rgUathB6zRHP8PYrfgnNOS9PhSBdHlegK+AGGanfwjXuQ9+0pZcy0w9lQ==",
        plain: r#"{"EventType":"check_create_suite_url","Random":"LPIdSnlF","TestSuiteKey":"suite4xxxxxxxxxxxxxxx"}"#,
    },
    Vector {
        token: "mryue",
        key: "Yue0EfdN5900c1ce5cf6A152c63DDe1808a60c5ecd7",
        timestamp: "1608001896814",
        nonce: "WL4PK6yA",
        receiver: "ding6ccabc44d2c8d38b",
        signature: "03044561471240d4a14bb09372dfcfd4fd0e40cb",
        aes_key: "62e7b411f74de7dd3473571ee5c7fa035e7673adc30ded7cd3c6bad1ce5e71de",
        random: "l7Y3EcX2CU5w8av3",
        encrypt: "0vJiX6vliEpwG3U45CtXqi+m8PXbQRARJ8p8BbDuD1EMTDf0jKpQ79QS93qEk7XHpP6u+oTTrd15NRPvNvmBKyDCYxxOK+HZeKju4yhELOFchzNukR+t8SB/qk4ROMu3",
        plain: r#"{"EventType":"check_url"}"#,
    },
    Vector {
        token: "tokenxxxx",
        key: "o1w0aum42yaptlz8alnhwikjd3jenzt9cb9wmzptgus",
        timestamp: "1605695694141",
        nonce: "WelUQl6bCqcBa2fM",
        receiver: "dingxxxxxx",
        signature: "f36f4ba5337d426c7d4bca0dbcb06b3ddc1388fc",
        aes_key: "a35c346ae9b8db26a9b65cfc6a59e1c229237778de9f3b7d71bf709b3a6d82eb",
        random: "WelUQl6bCqcBa2fM",
        encrypt: "X1VSe9cTJUMZu60d3kyLYTrBq5578ZRJtteU94wG0Q4Uk6E/wQYeJRIC0/UFW5Wkya1Ihz9oXAdLlyC9TRaqsQ==",
        plain: "success",
    },
    Vector {
        token: "123456",
        key: "1234567890123456789012345678901234567890123",
        timestamp: "1614767836",
        nonce: "A7Co0cJLMzIDtMMI",
        receiver: "dingsnotzck6pm5veliw",
        signature: "9a95a004dd16f5c307e849b994173f76aa26e5eb",
        aes_key: "d76df8e7aefcf74d76df8e7aefcf74d76df8e7aefcf74d76df8e7aefcf74d76d",
        random: "dICkEDLj0eb6yAbc",
        encrypt: "YvkvaGe4hQxd3VxRmEty0dVlnCOAqwf56xwTRHDHoOURqhalbmBJQk5FNcRk42Gl5T0YQXZNwpwWSm1xAFJ5ZA==",
        plain: "success",
    },
];

#[test]
fn the_official_vectors_decrypt_and_encrypt_to_the_same_bytes() {
    for vector in &OFFICIAL {
        let envelopes = vector.envelopes();
        assert_eq!(HEXLOWER.encode(&envelopes.key), vector.aes_key);
        let plain = envelopes.decrypt(&vector.stamp(), vector.encrypt).unwrap();
        assert_eq!(plain, vector.plain.as_bytes());
        let random = vector.random.as_bytes().try_into().unwrap();
        let sealed = envelopes.encrypt(&plain, random, vector.timestamp, vector.nonce);
        assert_eq!(sealed.encrypt, vector.encrypt);
        assert_eq!(sealed.msg_signature, vector.signature);
    }
}

#[test]
fn the_official_vector_without_the_layout_decrypts_and_encrypts() {
    let text = b"5p7b4jXMWUshiBCosucc111esssuite4xxxxxxxxxxxxxxx221";
    let cipher =
        "DwCJ9BMxu4r+VTe9TD+AWc1yfxqs7d2YgepFe4XruMgh1+6pTjCCq4nqAM6StRcafOx5a1OfwmX3ckSBifatlA==";
    let envelopes = OFFICIAL[0].envelopes();
    let padded = envelopes.decrypt_raw(&STANDARD.decode(cipher).unwrap()).unwrap();
    assert_eq!(unpad(&padded), text);
    let mut plain = text.to_vec();
    pad(&mut plain);
    assert_eq!(STANDARD.encode(envelopes.encrypt_raw(&plain)), cipher);
}

#[test]
fn messages_of_every_padding_encrypt_to_the_computed_vectors() {
    let event = r#"{"EventType":"user_add_org","TimeStamp":43535463645,"UserId":["中文"],"CorpId":"ding6ccabc44d2c8d38b"}"#;
    let full_block = "x".repeat(24);
    let cases = [
        (
            "success",
            "QjFVo6WtpzPr7RoyTeB2RiaR3xB2mMl8rk8y7ok0+3p4lanNu72WYgTGf2dCORsQrs6Yz+FV+5t9cYo8A/nGsg==",
            "c74e45295bc530971a7185949972e375b18c3f30",
        ),
        (
            &full_block,
            "QjFVo6WtpzPr7RoyTeB2RgoVif6/dCG/4PVRWLXvtkHjHGTvKwmVSMy9PQ6xpMmwHN9NflIe1Kj4e4G009LstAsuBhJpz6fGgghP6K9kgRMc1ZqhxyLFJFUsZ9raXTHP",
            "c733ba495534e30a44ae16976fee87832ab1d856",
        ),
        (
            event,
            "QjFVo6WtpzPr7RoyTeB2RrfMY8y+lQ5YrZ3p+vzqdrelj7nCkiJlOU0sF6txXmx54NKAwun890R1SHk72pZS13YMnPNFttrlA4/DZ403NyPIwb9/8u47kyAQjKtRh2TVjw8+2pWqQn6yAL4UKZmbr8l4UQIKiAzG/h5JOTEnRInl/eilChxK1kVDugrh1hY6LNU6V5d7Gme/JpTZMuqh7Q==",
            "72d8a28657586248f0e449be7035de130bd7773a",
        ),
    ];
    let vector = &OFFICIAL[1];
    let envelopes = vector.envelopes();
    for (message, encrypt, signature) in cases {
        let sealed = envelopes.encrypt(
            message.as_bytes(),
            *b"abcdefghijklmnop",
            vector.timestamp,
            vector.nonce,
        );
        assert_eq!((sealed.encrypt.as_str(), sealed.msg_signature.as_str()), (encrypt, signature));
        let stamp = Stamp { signature, ..vector.stamp() };
        assert_eq!(envelopes.decrypt(&stamp, encrypt).unwrap(), message.as_bytes());
    }
}

#[test]
fn an_envelope_padded_to_sixteen_bytes_is_read() {
    let vector = &OFFICIAL[1];
    let stamp = Stamp { signature: "7b1d2fbf42c444ebf8ddd16fcc906eb9bdae378b", ..vector.stamp() };
    let encrypt = "QjFVo6WtpzPr7RoyTeB2RiaR3xB2mMl8rk8y7ok0+3pC2A3xXA1h/Y5q1e3vcFQf";
    assert_eq!(vector.envelopes().decrypt(&stamp, encrypt).unwrap(), b"success");
}

#[test]
fn each_wrong_part_is_refused_by_its_own_error() {
    let vector = &OFFICIAL[1];
    let signed = |envelopes: &Envelopes, encrypt: &str| {
        let signature = envelopes.signature(vector.timestamp, vector.nonce, encrypt);
        let stamp = Stamp { signature: &signature, ..vector.stamp() };
        envelopes.decrypt(&stamp, encrypt)
    };
    let good = vector.envelopes();
    let other_receiver = Envelopes::new(vector.token, vector.key, "corp").unwrap();
    let other_key = Envelopes::new(vector.token, OFFICIAL[3].key, vector.receiver).unwrap();
    let short = STANDARD.encode([7; 32]);
    let cases = [
        (signed(&other_receiver, vector.encrypt), Error::ReceiverMismatch),
        (signed(&good, "not base64!"), Error::Unreadable("the base64")),
        (signed(&good, "c2hvcnQ="), Error::Unreadable("the blocks")),
        (signed(&good, ""), Error::Unreadable("the length")),
        (signed(&good, &short), Error::Unreadable("the length")),
        (signed(&other_key, vector.encrypt), Error::Unreadable("the length")),
        (
            good.decrypt(&Stamp { nonce: "x", ..vector.stamp() }, vector.encrypt),
            Error::SignatureMismatch,
        ),
        (
            good.decrypt(&Stamp { signature: "", ..vector.stamp() }, vector.encrypt),
            Error::SignatureMismatch,
        ),
    ];
    for (index, (outcome, expected)) in cases.into_iter().enumerate() {
        assert_eq!(outcome, Err(expected), "case {index}");
    }
}

#[test]
fn a_key_is_forty_three_characters_of_base64() {
    let good = OFFICIAL[0].key;
    for bad in [
        "",
        good.trim_start_matches('4'),
        &format!("{good}="),
        &good.replace('4', "*"),
        &"中".repeat(14),
    ] {
        assert!(aes_key(bad).is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_encrypted_decrypts(message: Vec<u8>, random: [u8; 16], nonce: String) {
        let envelopes = OFFICIAL[2].envelopes();
        let sealed = envelopes.encrypt(&message, random, "1", &nonce);
        let stamp = Stamp { signature: &sealed.msg_signature, timestamp: "1", nonce: &nonce };
        prop_assert_eq!(envelopes.decrypt(&stamp, &sealed.encrypt), Ok(message));
    }

    #[test]
    fn signed_rubbish_is_an_error_and_never_a_panic(cipher: Vec<u8>, blocks in 0..9_usize) {
        let envelopes = OFFICIAL[2].envelopes();
        let whole: Vec<u8> = cipher.iter().copied().cycle().take(if cipher.is_empty() { 0 } else { blocks * 16 }).collect();
        for bytes in [cipher, whole] {
            let encrypt = STANDARD.encode(&bytes);
            let signature = envelopes.signature("1", "n", &encrypt);
            let stamp = Stamp { signature: &signature, timestamp: "1", nonce: "n" };
            prop_assert!(envelopes.decrypt(&stamp, &encrypt).is_err());
        }
    }

    #[test]
    fn one_altered_byte_of_an_envelope_is_refused(at in 0..88_usize, by in 1..128_u8) {
        let vector = &OFFICIAL[2];
        let mut bytes = vector.encrypt.as_bytes().to_vec();
        bytes[at] ^= by;
        let altered = String::from_utf8_lossy(&bytes);
        prop_assert_eq!(
            vector.envelopes().decrypt(&vector.stamp(), &altered),
            Err(Error::SignatureMismatch)
        );
    }
}
