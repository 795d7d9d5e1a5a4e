//! From which address a request comes: that of its connection, or, behind a proxy that is trusted, the one that the
//! proxy tells in `x-forwarded-for`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;
use ipnet::IpNet;

/// What proxies add the address to of which they had the request.
const FORWARDED: &str = "x-forwarded-for";

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// These are.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Where a request comes from. Without the port: that is another one with every connection.
    pub(crate) fn address_of(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip().to_canonical();
        if !self.trusts(peer) {
            return Some(peer);
        }
        // Each proxy writes behind what it was given, so the last one that is not trusted is the client: what
        // stands before it the client may have written itself.
        let headers = request.headers().get_all(FORWARDED).filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = headers.flat_map(|value| value.split(',')).map(str::trim).collect();
        let mut address = peer;
        for hop in hops.iter().rev() {
            let Some(hop) = parse(hop) else { break };
            address = hop;
            if !self.trusts(hop) {
                break;
            }
        }
        Some(address)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]`, `[fd00::1]:80`.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// What one subscriber has: an IPv4 address, or the 2^64 addresses of an IPv6 network, between which it may choose
/// freely.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let networks = trusted.iter().map(|one| one.parse().unwrap()).collect();
        let request = TestRequest::get().peer_addr(peer.parse().unwrap());
        let request =
            forwarded.iter().fold(request, |r, value| r.append_header((FORWARDED, *value)));
        Proxies::new(networks).address_of(&request.to_http_request()).unwrap().to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let lie = &["6.6.6.6"][..];
        assert_eq!(seen(&[], "10.0.0.1:5", lie), "10.0.0.1");
        assert_eq!(seen(&["10.0.0.2/32"], "10.0.0.1:5", lie), "10.0.0.1");
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1:5", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen(&["10.0.0.0/8"], "[::ffff:10.0.0.1]:5", &["1.2.3.4:99"]), "1.2.3.4");
        assert_eq!(seen(&["::1/128"], "[::1]:5", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(seen(&["10.0.0.0/8"], "10.0.0.1:5", &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_does_not_count() {
        let trusted = &["10.0.0.0/8"][..];
        assert_eq!(seen(trusted, "10.0.0.1:5", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(seen(trusted, "10.0.0.1:5", &["6.6.6.6", "1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(seen(trusted, "10.0.0.1:5", &["6.6.6.6, unknown, 10.0.0.9"]), "10.0.0.9");
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let of = |text: &str| neighbourhood(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
