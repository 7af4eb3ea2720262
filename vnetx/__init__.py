"""A network switch for test hosts, made of eBPF programs."""
