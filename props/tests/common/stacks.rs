//! Scripts for fault injection: operations that an overlay performs in several steps.

/// Scripts that cover copy-ups, whiteouts and renames of an overlay.
pub(crate) const STACKS: &[&str] = &[
    "mkdir a\nwrite a/f \"hello\"\nmkdir a/d\nwrite a/d/g \"deep\"\nwrite f \"x\"\nlink f h\n===\n\
     open a/f rdwr\nfwrite 0 \"J\" 0\nfappend 0 \"!\"\nfsetlen 0 3\nstat a/f\nwrite a/d/g \"new\"\n\
     link h a/h\nunlink f\nrename a b\nmkdir a\nutimes b/d 5.0 6.0\nrename b/d/g a/g\nrmdir b/d\n\
     symlink l -> a\nreaddir .\nreaddir b\nread a/g\nrename h b/f",
    // The open truncates a file, without and with a hard link.
    "mkdir a\nwrite a/f \"hello\"\nwrite a/k \"linked\"\nlink a/k k\n===\n\
     open a/f write trunc\nopen k read trunc\nfstat 1\nopen a/n rdwr create excl trunc",
    // Renames of directories, merged and with hard links, onto others and back.
    "mkdir a\nwrite a/t \"top\"\nwhiteout a/x\nmkdir a/d\n---\n\
     mkdir a\nwrite a/f \"1\"\nlink a/f f\nwrite a/x \"\"\nmkdir a/d\nmkdir a/d/e\n\
     write a/d/e/g \"deep\"\nsymlink a/l -> f\nmkdir z\n===\n\
     rename a z\nread z/d/e/g\nrename z/d/e a\nmkdir b\nrename a b\nwrite z/f \"2\"\nread f\n\
     rename b z/d\nrename z a\nreaddir a/d",
    // Removes all nodes and recreates them.
    "mkdir a\nmkdir a/d\nwrite a/d/g \"\"\nsymlink a/l -> d\nwrite f \"x\"\n===\n\
     open a/d/g rdwr\nunlink a/d/g\nfwrite 0 \"still\" 0\nrmdir a/d\nunlink a/l\nrmdir a\nmkdir a\n\
     mkdir a/d\nwrite a/d/g \"again\"\nsymlink a/l -> g\nunlink f\nmkdir f\nrmdir f\n\
     write f \"y\"\n\
     fsetlen 0 2\nftimes 0 5.0 6.0\nfstat 0",
    // Times and hard links of otherwise unchanged nodes, with open readers.
    "mkdir a\nwrite a/f \"hello\"\nsymlink a/l -> f\nmkdir e\n===\n\
     open a/f read\nopen a hold\nlutimes a/l 5.0 6.0\nlutimes a/f keep 6.0\nutimes a 7.0 8.0\n\
     fread 0 9 0\nfstat 0\nlink a/l e/l\nlink a/f e/f\nutimes . 5.0 5.0\nrename 1:f 1:g\n\
     write 1:g \"new\"\nfread 0 9 0\nunlink e/f\nfstat 0\nrename a/l a/g\nfread 0 9 0",
    // Nodes that replace a whiteout or a hard link; exclusive opens.
    "mkdir a\nmkdir a/e\nwrite a/f \"one\"\nlink a/f a/g\nlink a/f k\nsymlink a/l -> f\n\
     link a/l l\nwrite a/x \"x\"\nwrite a/y \"y\"\nmkdir z\nwrite z/w \"w\"\n===\n\
     unlink a/x\nunlink a/y\nunlink z/w\nsymlink a/x -> f\nopen a/y write create excl\n\
     rmdir a/e\nmkdir a/e\nopen k write trunc\nread a/g\nlutimes l 5.0 6.0\nlutimes a/l 7.0 8.0\n\
     rename a z\nreaddir z\nrename z/f z/g\nopen z/f read create excl\nlink z/g z/e/g\n\
     open z/e/g rdwr trunc create\nfwrite 2 \"new\" 0\nread k",
];
