/* A component that multiplies one kind of resource and keeps all of them.

   usage: streams KIND N
     directories    directory streams, each read once, whose descriptors are dropped
     readers        input streams of the file `f`, whose descriptors are dropped
     writers        output streams of the file `f`, whose descriptors are dropped
     descriptors    descriptors of the directory `d`
     timers         pollables of a clock
     pollables      pollables of one stream
     inputs         handles on standard input, each with a pollable; then waits for all of them
     errors         errors of streams of the directory `d`, opened as a file
     sockets        UDP sockets

   It prints `kept COUNT` if it had them all, `refused at COUNT: CODE` after an error with that code,
   and traps where the interface has no error. The preopened directory needs `d` and `f`. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/wasip2.h>

#define NEVER_NS 1000000000000000ull

static filesystem_borrow_descriptor_t root;

static int refused(long count, int code) {
    printf("refused at %ld: %d\n", count, code);
    return 1;
}

static bool open_at(const char *name, int open_flags, int flags,
                    filesystem_own_descriptor_t *to, filesystem_error_code_t *code) {
    wasip2_string_t path;
    wasip2_string_set(&path, name);
    return filesystem_method_descriptor_open_at(root, 0, &path, open_flags, flags, to, code);
}

static int keep_directory(long count) {
    filesystem_own_descriptor_t dir;
    filesystem_error_code_t code;
    if (!open_at("d", FILESYSTEM_OPEN_FLAGS_DIRECTORY, FILESYSTEM_DESCRIPTOR_FLAGS_READ, &dir,
                 &code))
        return refused(count, code);
    filesystem_own_directory_entry_stream_t stream;
    if (!filesystem_method_descriptor_read_directory(filesystem_borrow_descriptor(dir), &stream,
                                                     &code))
        return refused(count, code);
    filesystem_option_directory_entry_t entry;
    filesystem_borrow_directory_entry_stream_t borrowed = {stream.__handle};
    if (!filesystem_method_directory_entry_stream_read_directory_entry(borrowed, &entry, &code))
        return refused(count, code);
    filesystem_descriptor_drop_own(dir);
    return 0;
}

static int keep_descriptor(long count) {
    filesystem_own_descriptor_t dir;
    filesystem_error_code_t code;
    if (!open_at("d", FILESYSTEM_OPEN_FLAGS_DIRECTORY, FILESYSTEM_DESCRIPTOR_FLAGS_READ, &dir,
                 &code))
        return refused(count, code);
    return 0;
}

static int keep_reader(long count) {
    filesystem_own_descriptor_t file;
    filesystem_error_code_t code;
    if (!open_at("f", 0, FILESYSTEM_DESCRIPTOR_FLAGS_READ, &file, &code))
        return refused(count, code);
    filesystem_own_input_stream_t stream;
    if (!filesystem_method_descriptor_read_via_stream(filesystem_borrow_descriptor(file), 0,
                                                      &stream, &code))
        return refused(count, code);
    filesystem_descriptor_drop_own(file);
    return 0;
}

static int keep_writer(long count) {
    filesystem_own_descriptor_t file;
    filesystem_error_code_t code;
    if (!open_at("f", 0, FILESYSTEM_DESCRIPTOR_FLAGS_WRITE, &file, &code))
        return refused(count, code);
    filesystem_own_output_stream_t stream;
    if (!filesystem_method_descriptor_write_via_stream(filesystem_borrow_descriptor(file), 0,
                                                       &stream, &code))
        return refused(count, code);
    filesystem_descriptor_drop_own(file);
    return 0;
}

static int keep_timer(long count) {
    (void)count;
    monotonic_clock_subscribe_duration(NEVER_NS);
    return 0;
}

static int keep_pollable(long count) {
    static stdin_own_input_stream_t input;
    if (count == 0)
        input = stdin_get_stdin();
    streams_borrow_input_stream_t borrowed = {input.__handle};
    streams_method_input_stream_subscribe(borrowed);
    return 0;
}

static poll_borrow_pollable_t *waits;

static int keep_input(long count) {
    stdin_own_input_stream_t input = stdin_get_stdin();
    streams_borrow_input_stream_t borrowed = {input.__handle};
    waits[count].__handle = streams_method_input_stream_subscribe(borrowed).__handle;
    return 0;
}

/* A directory that is read as a stream of bytes fails when the stream is made on some hosts and
   when it is read on others; one whose offset is beyond every file fails when it is read. */
static int keep_error(long count) {
    static streams_own_output_stream_t out;
    filesystem_error_code_t code;
    if (count == 0) {
        filesystem_own_descriptor_t file;
        if (!open_at("f", 0, FILESYSTEM_DESCRIPTOR_FLAGS_WRITE, &file, &code))
            return refused(count, code);
        filesystem_own_output_stream_t stream;
        if (!filesystem_method_descriptor_write_via_stream(filesystem_borrow_descriptor(file),
                                                           0x7fffffffffffffffull, &stream, &code))
            return refused(count, code);
        out.__handle = stream.__handle;
    }
    streams_borrow_output_stream_t borrowed = {out.__handle};
    wasip2_list_u8_t bytes = {(uint8_t *)"xyz", 3};
    streams_stream_error_t error;
    if (streams_method_output_stream_blocking_write_and_flush(borrowed, &bytes, &error))
        return refused(count, -1);
    if (error.tag != STREAMS_STREAM_ERROR_LAST_OPERATION_FAILED) {
        /* An error closes the stream; the next one needs another. */
        streams_output_stream_drop_own(out);
        filesystem_own_descriptor_t file;
        if (!open_at("f", 0, FILESYSTEM_DESCRIPTOR_FLAGS_WRITE, &file, &code))
            return refused(count, code);
        filesystem_own_output_stream_t stream;
        if (!filesystem_method_descriptor_write_via_stream(filesystem_borrow_descriptor(file),
                                                           0x7fffffffffffffffull, &stream, &code))
            return refused(count, code);
        filesystem_descriptor_drop_own(file);
        out.__handle = stream.__handle;
    }
    return 0;
}

static int keep_socket(long count) {
    udp_create_socket_own_udp_socket_t socket;
    udp_create_socket_error_code_t code;
    if (!udp_create_socket_create_udp_socket(NETWORK_IP_ADDRESS_FAMILY_IPV4, &socket, &code))
        return refused(count, code);
    return 0;
}

static const struct {
    const char *name;
    int (*keep)(long count);
} KINDS[] = {
    {"directories", keep_directory}, {"readers", keep_reader},     {"writers", keep_writer},
    {"descriptors", keep_descriptor}, {"timers", keep_timer},      {"pollables", keep_pollable},
    {"inputs", keep_input},           {"errors", keep_error},      {"sockets", keep_socket},
};

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    long wanted = atol(argv[2]);
    waits = calloc((size_t)wanted, sizeof *waits);
    filesystem_preopens_list_tuple2_own_descriptor_string_t dirs;
    filesystem_preopens_get_directories(&dirs);
    if (dirs.len > 0)
        root.__handle = dirs.ptr[0].f0.__handle;
    for (size_t kind = 0; kind < sizeof KINDS / sizeof *KINDS; kind++) {
        if (strcmp(KINDS[kind].name, argv[1]) != 0)
            continue;
        for (long count = 0; count < wanted; count++)
            if (KINDS[kind].keep(count))
                return 0;
        if (KINDS[kind].keep == keep_input) {
            poll_list_borrow_pollable_t all = {waits, (size_t)wanted};
            wasip2_list_u32_t ready;
            poll_poll(&all, &ready);
        }
        printf("kept %ld\n", wanted);
        return 0;
    }
    return 2;
}
