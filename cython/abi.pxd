"""The ABI as C has it: the members' names are here, their places in abi.h alone."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "vnetx/abi.h" nogil:
    enum:
        VNETX_FDB_STATIC
        VNETX_FDB_STICKY
        VNETX_FDB_LOCAL
        VNETX_REASON_MAX
        VNETX_NOTICE_FIRST

    struct vnetx_switch:
        uint64_t ageing_ns
        uint64_t refresh_ns
        uint64_t watch_until_ns
        uint32_t flags
        uint32_t port_slots
        uint32_t xdp_ports
        uint32_t vlan_rules

    struct vnetx_switch_state:
        uint64_t events_lost
        uint64_t fdb_full

    struct vnetx_port:
        uint32_t ifindex
        uint32_t flags
        uint16_t twin
        uint16_t bd
        uint16_t group_forward
        uint8_t peer_mac[6]
        uint32_t learn_limit
        uint32_t storm_pps[3]
        uint16_t group_forward_own
        uint8_t hook_wanted
        uint8_t hook
        uint16_t tpid
        uint16_t priority
        uint16_t pvid
        uint16_t parent
        uint16_t wire

    struct vnetx_flow:
        uint64_t epoch
        uint64_t decided
        uint32_t device
        uint32_t addresses[3]
        uint16_t out
        uint32_t out_ifindex
        uint32_t how
        uint32_t tag
        uint16_t vid
        uint16_t push_tpid
        uint16_t push_tci
        # `in`, a word of Python, has no name here

    struct vnetx_bd_state:
        int64_t learned

    struct vnetx_port_state:
        int64_t learned

    struct vnetx_port_stats:
        uint64_t rx_frames
        uint64_t rx_bytes
        uint64_t tx_frames
        uint64_t tx_bytes
        uint64_t flooded
        uint64_t local
        uint64_t learned
        uint64_t moved

    struct vnetx_port_vlans:
        uint64_t member[64]
        uint64_t untagged[64]

    struct vnetx_vlan:
        uint64_t member[128]
        uint64_t untagged[128]

    struct vnetx_vlan_stats:
        uint64_t rx_frames
        uint64_t rx_bytes
        uint64_t tx_frames
        uint64_t tx_bytes

    struct vnetx_vlan_mapping_key:
        uint32_t port
        uint16_t vid
        uint16_t egress

    struct vnetx_vlan_rule_key:
        uint32_t prefix_len
        uint32_t kind
        uint8_t data[16]

    struct vnetx_interface_key:
        char name[16]

    struct vnetx_vni:
        uint32_t vni
        uint32_t flags
        uint8_t local[16]
        uint16_t device
        uint16_t dstport
        uint8_t ttl
        uint8_t tos
        uint8_t ttl_default
        uint8_t hook
        uint32_t underlay
        uint32_t learn_limit
        uint32_t vtep_learn_limit

    struct vnetx_vni_remotes:
        uint64_t member[1]

    struct vnetx_vtep:
        uint8_t address[16]
        uint32_t ifindex

    struct vnetx_outer:
        uint32_t hash
        uint32_t ifindex
        uint16_t out
        uint16_t vid

    struct vnetx_neighbour_key:
        uint32_t vid
        uint32_t address[4]

    struct vnetx_neighbour:
        uint64_t seen_ns
        uint8_t mac[6]
        uint16_t flags

    struct vnetx_underlay:
        uint32_t flags
        uint16_t hook
        uint8_t mac[6]

    struct vnetx_tun:
        uint32_t to
        uint8_t mac[6]

    struct vnetx_source_key:
        uint8_t mac[6]

    struct vnetx_source:
        uint16_t ports[8]

    struct vnetx_wire:
        uint32_t out_ifindex
        uint32_t flags
        uint16_t out
        uint32_t seed
        uint64_t loss
        uint64_t corrupt
        uint8_t peer_mac[6]
        uint64_t frames
        # `in`, a word of Python, is the member `port` there
        uint16_t port "in"

    struct vnetx_address:
        uint64_t seen_ns
        uint16_t port
        uint16_t fixed

    struct vnetx_interface:
        uint32_t ifindex
        uint8_t kind
        uint8_t own_netns
        uint8_t mac[6]
        char netns[108]

    struct vnetx_reason_key:
        uint32_t port
        uint32_t reason

    struct vnetx_fdb_key:
        uint8_t mac[6]
        uint16_t bd

    struct vnetx_fdb_entry:
        uint64_t seen_ns
        uint16_t port
        uint16_t flags
        uint32_t generation

    struct vnetx_event:
        uint64_t time_ns
        vnetx_fdb_key key
        uint32_t kind
        uint16_t port
        uint16_t old_port

    struct vnetx_meta:
        char name[16]
        uint64_t netns_cookie
        uint64_t netns_inode
        uint64_t confirm_deadline_ns
        uint32_t fdb_size
        uint32_t max_ports
        uint32_t host_ifindex
        uint32_t host_port_ifindex
        uint16_t group_forward
        uint8_t mac[6]
        uint64_t build
        uint32_t ageing_s

    struct vnetx_undo:
        uint32_t flags
        uint32_t foreign_xdp_id
        uint32_t foreign_xdp_mode
