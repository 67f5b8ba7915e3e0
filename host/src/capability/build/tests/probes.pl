# What hostile code tries from inside a sandbox. Each line it prints is a probe: `refused NAME`, or `REACHED NAME: what`.
# A head sets $stage (bootstrap, install, source, build, test), @private (files of the host's), $socket and $abstract (sockets of the
# host's), $port (a server of its loopback interface) and $marker (a word in the command line of a process of its).
use strict;
use warnings;
our ($stage, @private, $socket, $abstract, $port, $marker);
# These three are the same sandbox, at different times.
my $builds = $stage =~ /^(source|build|test)$/;
use Socket;
$| = 1;

# Some of what follows would do harm to a machine.
open(my $hostname, '<', '/proc/sys/kernel/hostname') or die;
die "not in a sandbox\n" unless <$hostname> eq "foundry-build\n";

sub probe {
    my ($name, $try) = @_;
    my $found = eval { $try->() };
    print defined $found && $found ne '' && $found ne '0' ? "REACHED $name: $found\n" : "refused $name\n";
}

# The first bytes of a file.
sub content {
    my ($path) = @_;
    sysopen(my $file, $path, 2048) or return;    # O_NONBLOCK
    sysread($file, my $bytes, 200) or return;
    $bytes =~ s/[^ -~]/?/g;
    return $bytes;
}

sub lines {
    my ($path) = @_;
    open(my $file, '<', $path) or return;
    return <$file>;
}

# The names in a directory.
sub names {
    my ($path, %expected) = @_;
    opendir(my $dir, $path) or return;
    return join ' ', grep { !/^\.\.?$/ && !$expected{$_} } readdir $dir;
}

sub writes {
    my ($path, $text) = @_;
    open(my $file, '>>', $path) or return;
    return 'opened' unless defined $text;
    return syswrite($file, $text) ? 'written' : undef;
}

sub makes {
    my ($dir) = @_;
    open(my $file, '>', "$dir/foundry-probe") or return;
    unlink "$dir/foundry-probe";
    return 'a file';
}

sub opens {
    my ($family, $type, $protocol) = @_;
    return socket(my $one, $family, $type, $protocol) ? 'a socket' : undef;
}

# A system call of amd64.
sub calls {
    my @all = @_;
    my $result = syscall($all[0], @all[1 .. $#all]);
    return $result == -1 ? undef : "returned $result";
}

# The host's state, keys, home, sockets.
probe("private $_", do { my $path = $_; sub { content($path) // names($path) } }) for @private;
probe('socket in the file system', sub {
    socket(my $one, AF_UNIX, SOCK_STREAM, 0) or return;
    connect($one, sockaddr_un($socket)) ? 'connected' : undef;
});

# What a machine has besides.
my %expected = map { $_ => 1 } qw(bin sbin lib lib32 lib64 libx32 usr etc var tmp proc dev run);
@expected{qw(build)} = (1) if $builds;
@expected{qw(opt)} = (1) if $stage ne 'bootstrap';
@expected{qw(target mirrors.sources transport.conf)} = (1) x 3 if $stage eq 'bootstrap';
probe('other directories of the machine', sub { names('/', %expected) });
probe("content of $_", do { my $path = $_; sub { names($path) } })
    for qw(/usr/local /opt /run /root /home /srv /mnt /media /boot /sys /work /etc/ssl/private /etc/ssh /etc/foundry
    /etc/sudoers.d /etc/netplan /etc/NetworkManager /etc/wireguard /etc/letsencrypt /etc/mosquitto /etc/postgresql
    /etc/mysql /etc/cron.d /etc/apt/auth.conf.d /var/mail /var/backups /var/lib/private /var/lib/postgresql
    /var/lib/mosquitto /var/lib/systemd /var/lib/dbus /var/lib/foundry /var/lib/docker /var/spool/cron);
probe("file $_", do { my $path = $_; sub { content($path) } })
    for qw(/etc/sudoers /etc/fstab /etc/machine-id /etc/environment /etc/apt/auth.conf /etc/krb5.keytab /etc/gitconfig
    /etc/pip.conf /etc/npmrc /etc/hostname);
probe('passwords of accounts', sub {
    join ' ', grep { (split /:/)[1] =~ /\$|^$/ } map { lines($_) } '/etc/shadow', '/etc/gshadow';
});
probe('accounts of people', sub {
    my @people = grep { $_->[2] >= 1000 && $_->[2] != 65534 && $_->[0] ne 'build' } map { [split /:/] } lines('/etc/passwd');
    join ' ', map { $_->[0] } @people;
});

# The kernel.
probe("sysctl $_", do { my $path = "/proc/sys/$_"; sub { writes($path) } })
    for qw(kernel/core_pattern kernel/modprobe kernel/panic vm/drop_caches fs/binfmt_misc/register
    user/max_user_namespaces net/ipv4/ip_forward);
probe('sysrq', sub { writes('/proc/sysrq-trigger') });
probe("memory $_", do { my $path = $_; sub { content($path) } }) for qw(/proc/kcore /dev/mem /dev/kmem /dev/port /proc/kmsg /dev/kmsg);
probe("device $_", do { my $path = $_; sub { -e $path ? 'there' : undef } }) for qw(/dev/vda /dev/sda /dev/fuse /dev/kvm /dev/vsock /dev/net/tun /dev/loop-control);
probe('processes of the host', sub {
    join ' ', grep { (content($_) // '') =~ /\Q$marker\E/ } glob '/proc/[0-9]*/cmdline';
});
probe('root of the first process', sub { names('/proc/1/root', %expected) });
probe('mounts whose programs may change who they are', sub {
    join ' ', map { $_->[1] } grep { $_->[3] !~ /nosuid/ } map { [split / /] } lines('/proc/self/mounts');
});
probe('mounts with devices', sub {
    join ' ', map { $_->[1] } grep { $_->[3] !~ /nodev/ && $_->[1] !~ m{^/(dev/|proc$)} } map { [split / /] } lines('/proc/self/mounts');
});

# Packages over the machine's own root are installed with the machine's ids, to which its files belong. A build's map is
# told by one of its own that is above it.
probe("the machine's root", sub { grep { (split ' ', $_)[1] == 0 } lines('/proc/self/uid_map') }) if $stage eq 'bootstrap';

# System calls that namespaces don't separate, or that only who owns the machine needs.
probe('keyctl', sub { calls(250, 0, -3, 0) });
probe('add_key', sub { my ($type, $name) = ("user\0", "x\0"); calls(248, $type, $name, $type, 4, -3) });
probe('request_key', sub { my ($type, $name) = ("user\0", "x\0"); calls(249, $type, $name, 0, -3) });
probe('bpf', sub { my $none = "\0" x 128; calls(321, 0, $none, 128) });
probe('userfaultfd', sub { calls(323, 1) });
probe('perf_event_open', sub { my $none = "\0" x 128; calls(298, $none, 0, -1, -1, 0) });
probe('io_uring_setup', sub { my $none = "\0" x 128; calls(425, 1, $none) });
probe('kernel log', sub { my $text = "\0" x 4096; calls(103, 3, $text, 4096) });
probe('init_module', sub { my $text = "\0" x 16; calls(175, $text, 16, $text) });
probe('iopl', sub { calls(172, 3) });
probe('device node', sub { my $path = "/tmp/foundry-node\0"; calls(133, $path, 0020666, 0x101) });
probe('open_by_handle_at', sub { my $handle = pack('IiC8', 8, 1, (0) x 8); calls(304, -100, $handle, 0) });
probe('user namespace', sub { my $pid = fork // return; if (!$pid) { exit(syscall(272, 0x10000000) == -1 ? 0 : 9) } waitpid $pid, 0; $? >> 8 });
if ($stage ne 'bootstrap') {
    # Of CHOWN to SETPCAP, FOWNER and the like a root of its own has some; none of these.
    my %capability = (NET_ADMIN => 12, NET_RAW => 13, SYS_MODULE => 16, SYS_RAWIO => 17, SYS_PTRACE => 19, SYS_ADMIN => 21,
        SYS_BOOT => 22, SYS_RESOURCE => 24, SYS_TIME => 25, MKNOD => 27, MAC_ADMIN => 33, SYSLOG => 34, BPF => 39);
    my ($held) = map { /^CapPrm:\s*(\w+)/ ? hex $1 : () } lines('/proc/self/status');
    probe("capability $_", do { my $bit = 1 << $capability{$_}; sub { $held & $bit } }) for sort keys %capability;
    probe('sethostname', sub { my $name = "other"; calls(170, $name, 5) });
    probe('mount', sub { my ($type, $at) = ("tmpfs\0", "/tmp\0"); calls(165, $type, $at, $type, 0, 0) });
    probe('remount of /proc', sub { my ($none, $at) = ("none\0", "/proc\0"); calls(165, $none, $at, $none, 0x1020, 0) });
    probe('server of the host', sub {
        socket(my $one, AF_INET, SOCK_STREAM, 0) or return;
        connect($one, sockaddr_in($port, inet_aton('127.0.0.1'))) ? 'connected' : undef;
    });
    probe('abstract socket', sub {
        socket(my $one, AF_UNIX, SOCK_STREAM, 0) or return;
        connect($one, pack('S', AF_UNIX) . "\0$abstract") ? 'connected' : undef;
    });
    probe('raw socket', sub { opens(AF_INET, SOCK_RAW, 1) });
}

# Families of sockets, and protocols of netlink.
my %family = (KEY => 15, PACKET => 17, RDS => 21, IB => 27, CAN => 29, TIPC => 30, BLUETOOTH => 31, ALG => 38, VSOCK => 40, KCM => 41, QIPCRTR => 42, XDP => 44);
probe("AF_$_", do { my $number = $family{$_}; sub { opens($number, SOCK_STREAM, 0) // opens($number, SOCK_DGRAM, 0) // opens($number, SOCK_RAW, 0) // opens($number, SOCK_SEQPACKET, 0) } })
    for sort keys %family;
my %protocol = (SOCK_DIAG => 4, XFRM => 6, AUDIT => 9, NETFILTER => 12, KOBJECT_UEVENT => 15, GENERIC => 16, CRYPTO => 21);
probe("NETLINK_$_", do { my $number = $protocol{$_}; sub { opens(16, SOCK_RAW, $number) } }) for sort keys %protocol;

# A build writes to its own directories and to nothing else.
if ($builds) {
    probe("write to $_", do { my $path = $_; sub { makes($path) } })
        for qw(/ /usr /usr/local /etc /var /var/lib /var/lib/dpkg /var/cache /var/log /var/spool /run /dev /proc /bin /nonexistent);
    probe('becoming root', sub { calls(105, 0) });
    probe('chroot', sub { my $at = "/tmp\0"; calls(161, $at) });
    probe("own place $_", do { my $path = $_; sub { makes($path) ? undef : 'not writable' } }) for qw(/build /tmp /var/tmp /dev/shm);
}
probe('writing to the fetched packages', sub { makes('/var/cache/apt/archives') }) if $stage eq 'install';

# What programs need is there: an address is found, a local socket works.
probe('no local sockets', sub { opens(AF_UNIX, SOCK_STREAM, 0) ? undef : $! });
probe('no internet sockets', sub { opens(AF_INET, SOCK_STREAM, 0) && opens(AF_INET6, SOCK_DGRAM, 0) ? undef : $! });
probe('no routes', sub { opens(16, SOCK_RAW, 0) ? undef : $! });
print "all probes done\n";
