"""The part of libnghttp2's C API that the transport uses (nghttp2.h, version 1.52 or newer)."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from *:
    """
    #include <nghttp2/nghttp2.h>
    #ifndef NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
    #define NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES 0x09
    #endif
    /* Added after 1.52, or backported to it. Weak symbols: NULL if the library lacks them. */
    #define TOO_MANY_CONTINUATIONS (-905)  /* NGHTTP2_ERR_TOO_MANY_CONTINUATIONS, an enumerator */
    #pragma weak nghttp2_option_set_stream_reset_rate_limit
    #pragma weak nghttp2_option_set_glitch_rate_limit
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *option, uint64_t burst, uint64_t rate);
    void nghttp2_option_set_glitch_rate_limit(nghttp2_option *option, uint64_t burst, uint64_t rate);

    /* libnghttp2's own limits, a burst of 1,000 resets and 33 per second, are below the rate of timeouts of one busy
       Envoy. */
    static inline void lift_rate_limits(nghttp2_option *option)
    {
        const uint64_t many = 1u << 30;
        if (nghttp2_option_set_stream_reset_rate_limit)
            nghttp2_option_set_stream_reset_rate_limit(option, many, many);
        if (nghttp2_option_set_glitch_rate_limit)
            nghttp2_option_set_glitch_rate_limit(option, many, many);
    }
    """
    const int TOO_MANY_CONTINUATIONS
    void lift_rate_limits(nghttp2_option *option) noexcept nogil


cdef extern from "nghttp2/nghttp2.h" nogil:
    ctypedef struct nghttp2_session
    ctypedef struct nghttp2_session_callbacks
    ctypedef struct nghttp2_option
    ctypedef struct nghttp2_info:
        const char *version_str

    enum:
        NGHTTP2_DATA
        NGHTTP2_HEADERS
        NGHTTP2_PING
        NGHTTP2_PRIORITY
        NGHTTP2_RST_STREAM
        NGHTTP2_SETTINGS
        NGHTTP2_FLAG_NONE
        NGHTTP2_FLAG_END_STREAM
        NGHTTP2_FLAG_ACK
        NGHTTP2_HCAT_HEADERS
        NGHTTP2_HCAT_REQUEST
        NGHTTP2_NV_FLAG_NONE
        NGHTTP2_NV_FLAG_NO_COPY_NAME
        NGHTTP2_NV_FLAG_NO_COPY_VALUE
        NGHTTP2_DATA_FLAG_NONE
        NGHTTP2_DATA_FLAG_EOF
        NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_ERR_CALLBACK_FAILURE
        NGHTTP2_ERR_DEFERRED
        NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_ERR_FLOODED
        NGHTTP2_NO_ERROR
        NGHTTP2_PROTOCOL_ERROR
        NGHTTP2_INTERNAL_ERROR
        NGHTTP2_STREAM_CLOSED
        NGHTTP2_ENHANCE_YOUR_CALM
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES

    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags

    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags

    ctypedef struct nghttp2_headers:
        int cat

    ctypedef struct nghttp2_data:
        size_t padlen

    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_data data
        nghttp2_headers headers

    ctypedef union nghttp2_data_source:
        void *ptr

    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value

    ctypedef ssize_t (*nghttp2_data_source_read_callback)(
        nghttp2_session *h2, int32_t stream_id, uint8_t *buf, size_t length, uint32_t *data_flags,
        nghttp2_data_source *source, void *user_data) noexcept

    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_data_source_read_callback read_callback

    ctypedef int (*nghttp2_on_begin_frame_callback)(
        nghttp2_session *h2, const nghttp2_frame_hd *hd, void *user_data) noexcept
    ctypedef int (*nghttp2_on_begin_headers_callback)(
        nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept
    ctypedef int (*nghttp2_on_header_callback)(
        nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t namelen,
        const uint8_t *value, size_t valuelen, uint8_t flags, void *user_data) noexcept
    ctypedef int (*nghttp2_on_data_chunk_recv_callback)(
        nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
        void *user_data) noexcept
    ctypedef int (*nghttp2_on_frame_recv_callback)(
        nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept
    ctypedef int (*nghttp2_on_invalid_frame_recv_callback)(
        nghttp2_session *h2, const nghttp2_frame *frame, int lib_error_code, void *user_data) noexcept
    ctypedef int (*nghttp2_on_frame_send_callback)(
        nghttp2_session *h2, const nghttp2_frame *frame, void *user_data) noexcept
    ctypedef int (*nghttp2_on_stream_close_callback)(
        nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *user_data) noexcept

    const nghttp2_info *nghttp2_version(int least_version)
    int nghttp2_session_callbacks_new(nghttp2_session_callbacks **callbacks)
    void nghttp2_session_callbacks_del(nghttp2_session_callbacks *callbacks)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_begin_frame_callback callback)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_begin_headers_callback callback)
    void nghttp2_session_callbacks_set_on_header_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_header_callback callback)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_data_chunk_recv_callback callback)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_frame_recv_callback callback)
    void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_invalid_frame_recv_callback callback)
    void nghttp2_session_callbacks_set_on_frame_send_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_frame_send_callback callback)
    void nghttp2_session_callbacks_set_on_stream_close_callback(
        nghttp2_session_callbacks *callbacks, nghttp2_on_stream_close_callback callback)

    int nghttp2_option_new(nghttp2_option **option)
    void nghttp2_option_del(nghttp2_option *option)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option *option, int val)
    void nghttp2_option_set_no_closed_streams(nghttp2_option *option, int val)

    int nghttp2_session_server_new2(
        nghttp2_session **h2, const nghttp2_session_callbacks *callbacks, void *user_data,
        const nghttp2_option *option)
    void nghttp2_session_del(nghttp2_session *h2)
    ssize_t nghttp2_session_mem_recv(nghttp2_session *h2, const uint8_t *data, size_t len)
    ssize_t nghttp2_session_mem_send(nghttp2_session *h2, const uint8_t **data)
    int nghttp2_session_want_read(nghttp2_session *h2)
    int nghttp2_session_want_write(nghttp2_session *h2)
    void *nghttp2_session_get_stream_user_data(nghttp2_session *h2, int32_t stream_id)
    int nghttp2_session_set_stream_user_data(nghttp2_session *h2, int32_t stream_id, void *data)
    int nghttp2_session_consume_connection(nghttp2_session *h2, size_t size)
    int nghttp2_session_consume_stream(nghttp2_session *h2, int32_t stream_id, size_t size)
    int nghttp2_session_consume(nghttp2_session *h2, int32_t stream_id, size_t size)
    int nghttp2_session_resume_data(nghttp2_session *h2, int32_t stream_id)
    int nghttp2_session_set_local_window_size(nghttp2_session *h2, uint8_t flags, int32_t stream_id, int32_t size)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *h2)
    int nghttp2_session_terminate_session2(nghttp2_session *h2, int32_t last_stream_id, uint32_t error_code)
    int nghttp2_submit_settings(
        nghttp2_session *h2, uint8_t flags, const nghttp2_settings_entry *iv, size_t niv)
    int nghttp2_submit_response(
        nghttp2_session *h2, int32_t stream_id, const nghttp2_nv *nva, size_t nvlen,
        const nghttp2_data_provider *provider)
    int nghttp2_submit_trailer(nghttp2_session *h2, int32_t stream_id, const nghttp2_nv *nva, size_t nvlen)
    int nghttp2_submit_rst_stream(nghttp2_session *h2, uint8_t flags, int32_t stream_id, uint32_t error_code)
    int nghttp2_submit_shutdown_notice(nghttp2_session *h2)
    int nghttp2_submit_goaway(
        nghttp2_session *h2, uint8_t flags, int32_t last_stream_id, uint32_t error_code, const uint8_t *opaque,
        size_t length)
    int nghttp2_submit_ping(nghttp2_session *h2, uint8_t flags, const uint8_t *opaque)
