"""Who a gateway is at its broker: a key that never leaves it, and a certificate of the site.

enrolment      the one file from which a gateway starts: names, broker, authority
certificates   keys, requests and certificates, as bytes
store          what is in use on this gateway, changed by one rename
"""
