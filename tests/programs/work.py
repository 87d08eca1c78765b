"""What a program does to the files in a directory, printed line by line.

Runs by itself (`python3 work.py DO DIRECTORY`) and as a component; both must print the same and
leave the same behind. Nothing is printed that may differ: no numbers of errors, of nodes, of users.
"""

# A component has the modules that were imported when it was built: also those that others ask for.
import encodings.cp437
import errno
import gzip
import os
import pathlib
import shutil
import sqlite3
import stat
import sys
import tarfile
import tempfile
import zipfile

try:
    from wit_world import exports
except ImportError:
    exports = None


def say(*words):
    print(*words, flush=True)


def refused(what, *args, **keys):
    """Does something that has to fail, and says what it was told."""
    try:
        what(*args, **keys)
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return f"{type(error).__name__} {name}"
    except sqlite3.Error as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def write(path, data):
    with open(path, "wb") as file:
        return file.write(data)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def kind(path):
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return f"-> {os.readlink(path)}"
    return "dir" if stat.S_ISDIR(mode) else f"{os.lstat(path).st_size} bytes"


def walk(top):
    for dir, dirs, files in os.walk(top):
        dirs.sort()
        say(f"{dir}:", " ".join(sorted(files + dirs)))


def look():
    """What is there, in every way that one can ask."""
    walk(".")
    for path in sorted(pathlib.Path(".").rglob("*")):
        what = kind(path)
        # Directories and links have sizes of their own, and directories times.
        when = "" if path.is_dir() else os.lstat(path).st_mtime_ns
        say(path.as_posix(), what, when)
    with os.scandir("many") as entries:
        seen = sorted((it.name, it.is_file(), it.is_dir(), it.is_symlink()) for it in entries)
    say("many:", len(seen), seen[0], seen[-1], len({name for name, *_ in seen}))
    say("missing:", refused(os.stat, "none"), refused(os.listdir, "none"), refused(read, "none"))
    say("no directory:", refused(os.listdir, "notes.txt"), refused(os.stat, "notes.txt/x"))
    say("a directory:", refused(read, "src"), refused(write, "src", b""))
    say("same:", os.path.samefile("notes.txt", "src/../notes.txt"),
        os.path.samefile("notes.txt", "src/a.py"))
    say("out:", os.access("notes.txt", os.R_OK), os.path.exists("src/deep/er"))


def files():
    """Writes in every way."""
    say("new:", write("new.bin", bytes(range(256)) * 300), len(read("new.bin")))
    with open("notes.txt", "a") as file:
        say("at the end:", file.tell(), file.write("appended\n"), file.tell())
    with open("notes.txt", "r+") as file:
        say("over:", file.readline().strip(), file.seek(0), file.write("FIRST"))
    say(read("notes.txt").decode().splitlines())
    say("only new:", refused(open, "new.bin", "x"), refused(open, "newer.bin", "x"))
    with open("holes.bin", "wb") as file:
        file.seek(1_000_000)
        file.write(b"end")
        file.truncate(1_000_010)
    say("holes:", os.stat("holes.bin").st_size, read("holes.bin").count(0), read("holes.bin")[-14:])
    os.truncate("holes.bin", 5)
    say("shorter:", read("holes.bin"))
    fd = os.open("raw.bin", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    say("raw:", os.write(fd, b"0123456789"), os.pwrite(fd, b"XY", 3), os.pread(fd, 4, 2),
        os.lseek(fd, 0, os.SEEK_CUR), os.lseek(fd, -3, os.SEEK_END),
        os.read(fd, 100), os.read(fd, 9))
    say("before the start:", refused(os.lseek, fd, -1, os.SEEK_SET))
    os.ftruncate(fd, 6)
    os.fsync(fd)
    os.fdatasync(fd)
    say("cut:", os.fstat(fd).st_size, os.pread(fd, 100, 0), os.pread(fd, 100, 6))
    os.close(fd)
    say("closed:", refused(os.read, fd, 1))
    fd = os.open("raw.bin", os.O_RDONLY)
    say("to be read:", refused(os.write, fd, b"x"), refused(os.ftruncate, fd, 1))
    os.close(fd)
    fd = os.open("raw.bin", os.O_WRONLY | os.O_APPEND)
    say("behind:", os.lseek(fd, 0, os.SEEK_SET), os.write(fd, b"end"), refused(os.read, fd, 1))
    os.close(fd)
    say(read("raw.bin"))
    os.utime("raw.bin", ns=(1_000_000_000_123_456_789, 1_100_000_000_987_654_321))
    it = os.stat("raw.bin")
    say("times:", it.st_atime_ns, it.st_mtime_ns)
    # A file lives on while it is open, under another name and under none.
    with open("gone.bin", "w+b") as file:
        file.write(b"still there")
        file.flush()
        os.rename("gone.bin", "went.bin")
        os.remove("went.bin")
        file.seek(0)
        say("open:", file.read(), os.fstat(file.fileno()).st_size, os.path.exists("went.bin"))
    with tempfile.TemporaryDirectory(dir=".") as dir, tempfile.TemporaryFile(dir=dir) as file:
        file.write(b"x" * 100_000)
        say("temporary:", file.tell(), len(os.listdir(dir)) <= 1)
    say("name:", refused(write, "n" * 255, b""), refused(write, "n" * 256, b""))
    os.remove("n" * 255)


def names():
    """Makes, renames, links and removes."""
    os.makedirs("made/a/b/c")
    say("made:", refused(os.mkdir, "made"), refused(os.mkdir, "none/x"),
        refused(os.mkdir, "notes.txt/x"))
    os.rename("src/a.py", "src/z.py")
    os.replace("src/b.py", "src/deep/c.py")
    os.rename("lib", "library")
    os.rename("library/inner", "made/inner")
    say("renamed:", read("src/z.py"), read("src/deep/c.py"), os.path.exists("lib"))
    walk("library")
    walk("made")
    say("refused:", refused(os.rename, "src", "src/deep/src"), refused(os.rename, "src", "made"),
        refused(os.rename, "none", "some"), refused(os.rename, "notes.txt", "src"),
        refused(os.rename, "src", "notes.txt"))
    os.rename("made/a/b/c", "empty")
    say("onto an empty one:", refused(os.rename, "made/inner", "made/a/b"), os.listdir("made/a/b"))
    os.symlink("deep/c.py", "src/link")
    os.symlink("nowhere", "dangling")
    os.symlink("src", "to-src")
    os.symlink("loop", "loop")
    say("links:", os.readlink("src/link"), read("src/link"), sorted(os.listdir("to-src")),
        refused(read, "dangling"), refused(read, "loop"), refused(os.readlink, "notes.txt"),
        refused(os.symlink, "x", "dangling"), os.path.lexists("dangling"))
    write("dangling", b"through")
    say("through it:", read("nowhere"), os.path.islink("dangling"))
    os.link("notes.txt", "notes.too")
    with open("notes.too", "a") as file:
        file.write("by its other name\n")
    say("hard:", os.path.samefile("notes.txt", "notes.too"), os.stat("notes.txt").st_nlink,
        read("notes.txt")[-18:], refused(os.link, "src", "x"),
        refused(os.link, "raw.bin", "new.bin"))
    os.remove("notes.txt")
    say("one is left:", os.stat("notes.too").st_nlink, len(read("notes.too")))
    say("not removed:", refused(os.rmdir, "src"), refused(os.rmdir, "new.bin"),
        refused(os.unlink, "src"), refused(os.unlink, "none"), refused(os.rmdir, "none"))
    for name in os.listdir("many"):
        if int(name[5:]) % 3:
            os.remove(os.path.join("many", name))
    say("fewer:", len(os.listdir("many")))
    with os.scandir("doomed") as entries:
        for entry in entries:
            if entry.is_file():
                os.remove(entry.path)
    shutil.rmtree("doomed")
    # What was removed is made anew, of another kind.
    write("doomed", b"a file now")
    os.remove("kind")
    os.mkdir("kind")
    write("kind/inside", b"x")
    say("anew:", read("doomed"), os.listdir("kind"))
    fd = os.open("src", os.O_RDONLY | os.O_DIRECTORY)
    inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
    os.rename("c.py", "d.py", src_dir_fd=inner, dst_dir_fd=fd)
    os.mkdir("e", dir_fd=inner)
    say("held:", sorted(os.listdir("src")), sorted(os.listdir("src/deep")),
        os.stat("d.py", dir_fd=fd).st_size, refused(os.stat, "c.py", dir_fd=inner))
    os.rmdir("e", dir_fd=inner)
    os.close(inner)
    os.close(fd)


def trees():
    """Copies, moves, packs and unpacks."""
    shutil.copytree("src", "copied", symlinks=True)
    shutil.copy2("raw.bin", "copied/raw.bin")
    say("copied:", os.stat("copied/raw.bin").st_mtime_ns, kind("copied/link"))
    shutil.move("copied/deep", "moved")
    with zipfile.ZipFile("all.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        for name in sorted(os.listdir("many")):
            pack.write(f"many/{name}")
        pack.writestr("hello.txt", "hello" * 1000)
    with zipfile.ZipFile("all.zip") as pack:
        say("zip:", len(pack.namelist()), pack.testzip(), len(pack.read("hello.txt")))
        pack.extractall("unzipped")
    with tarfile.open("all.tar.gz", "w:gz") as pack:
        pack.add("src")
    with tarfile.open("all.tar.gz") as pack:
        say("tar:", sorted(pack.getnames()))
    say("unzipped:", len(os.listdir("unzipped/many")), read("unzipped/many/file-000"))
    # Their bytes hold times.
    os.remove("all.zip")
    os.remove("all.tar.gz")


def fill(db, first, last):
    rows = ((n, f"{n:05}" * 20) for n in range(first, last))
    db.executemany("insert into part values (?, ?)", rows)


def count(db):
    return db.execute("select count(*), sum(id), max(length(text)) from part").fetchone()


def base():
    """A database: transactions, journals, readers beside a writer."""
    def connect():
        return sqlite3.connect("data.db", timeout=0.2, isolation_level=None)

    db = connect()
    db.execute("create table part (id integer primary key, text text)")
    db.execute("begin")
    fill(db, 0, 2000)
    say("within:", os.path.exists("data.db-journal"), db.in_transaction)
    db.execute("commit")
    say("filled:", count(db), sorted(it for it in os.listdir(".") if it.startswith("data")))
    db.execute("begin")
    fill(db, 2000, 2500)
    db.execute("delete from part where id % 2")
    say("seen within:", count(db))
    db.execute("rollback")
    say("rolled back:", count(db))
    db.close()
    db = connect()
    say("again:", count(db), db.execute("pragma integrity_check").fetchone())
    for mode in "truncate", "persist", "memory", "off", "delete":
        now = db.execute(f"pragma journal_mode = {mode}").fetchone()[0]
        db.execute("begin")
        db.execute("update part set text = text || ? where id < 10", (mode[0],))
        db.execute("commit")
        journal = os.path.exists("data.db-journal")
        say(mode, now, journal and os.stat("data.db-journal").st_size > 0)
    say("marked:", db.execute("select substr(text, 101) from part where id = 9").fetchone())
    db.execute("begin")
    other = connect()
    say("beside:", count(other), count(db))
    other.close()
    db.execute("commit")
    size = os.stat("data.db").st_size
    db.execute("delete from part where id >= 100")
    db.execute("vacuum")
    say("smaller:", os.stat("data.db").st_size < size, count(db))
    db.execute("vacuum into 'backup.db'")
    db.execute("attach 'backup.db' as backup")
    say("attached:", db.execute("select count(*) from backup.part").fetchone())
    db.execute("create table backup.more as select * from part where id < 3")
    db.execute("detach backup")
    db.execute("create index by_text on part (text)")
    db.execute("savepoint here")
    db.execute("drop table part")
    db.execute("rollback to here")
    db.execute("release here")
    say("still:", count(db))
    copy = sqlite3.connect("copy.db")
    db.backup(copy, pages=2)
    say("backed up:", count(copy))
    copy.close()
    db.close()
    # A journal that was left behind is rolled back by whoever opens the database next.
    for name in "data.db", "data.db-journal":
        say(name, os.path.exists(name))
    say("no database:", refused(sqlite3.connect("src/z.py").execute, "select * from sqlite_master"))
    say("read only:", refused(
        sqlite3.connect("file:data.db?mode=ro", uri=True).execute, "create table x (y)"))
    say("not there:", refused(sqlite3.connect, "file:none.db?mode=ro", uri=True))


def everything():
    for do in look, files, names, trees, base:
        say(f"== {do.__name__}")
        do()
    say("== left")
    walk(".")


def main():
    os.chdir(sys.argv[2])
    globals()[sys.argv[1]]()


if exports:
    class Run(exports.Run):
        def run(self):
            main()
elif __name__ == "__main__":
    main()
