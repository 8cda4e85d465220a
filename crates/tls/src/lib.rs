//! TLS for clients and for upstreams: certificates, their choice by name, their replacement.
