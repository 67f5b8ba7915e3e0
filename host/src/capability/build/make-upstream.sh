# Makes an upstream tarball from the source tree in the current directory: $1 is the tarball's stem, $2 the name of its
# only directory. The bytes are the same whenever the files are: names are sorted, owners and modes plain, and the time
# is a constant, since a later revision of the package must come with the same tarball.

tree=.
series=$(sed -e 's/[[:space:]].*//' -e '/^#/d' -e '/^$/d' debian/patches/series 2>/dev/null || true)
apply="patch --strip=1 --fuzz=0 --batch --silent --force --no-backup-if-mismatch"

# Some keep their trees with Debian's patches applied. Then the first of them doesn't apply again, and upstream's files
# are what is left when all are taken back.
first=$(printf '%s\n' "$series" | head -n 1)
if [ -n "$first" ] && ! $apply --dry-run < "debian/patches/$first" > /dev/null; then
    cp -a . ../unpatched
    if (
        cd ../unpatched
        for patch in $(printf '%s\n' "$series" | tac); do
            $apply --reverse --remove-empty-files < "debian/patches/$patch" > /dev/null || exit 1
        done
    ); then
        echo "the tree has Debian's patches applied; they are no part of the upstream tarball"
        tree=../unpatched
    fi
fi

tar --create --file "../$1.tar" --directory "$tree" --sort=name --format=gnu --mtime=@946684800 \
    --owner=root:0 --group=root:0 --mode=u=rwX,go=rX \
    --anchored --exclude=./debian --exclude=./.pc --transform "s,^\\.,$2,rSh" .
xz -T1 -6 "../$1.tar"
rm -rf ../unpatched
