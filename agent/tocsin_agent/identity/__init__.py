"""Who a gateway is at its broker: a key that never leaves it, and a certificate of the site.

enrolment      the one file from which a gateway starts: names, broker, authority
certificates   keys, requests and certificates, as bytes
store          what is in use on this gateway, changed by one rename
renewal        the next certificate, asked for and judged by the one in use
tokens         one-time tokens, of which a site keeps hashes
desk           signs what has a token or a certificate of the site; no connection
online         the gateway and the desk at a broker
"""
