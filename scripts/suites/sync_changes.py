"""Changes that several cases make, and what must have become of them."""


def nine_files(site):
    machine = site.machine()
    for number in range(1, 10):
        machine.write(f"file{number}.txt", f"file {number}\n")
    machine.sync()
    return machine


def change_everything(site, machine):
    """What rclone's `changes` does to its files: each way in which the two sides can differ."""
    site.put("file10.txt", "new there")
    site.put("file1.txt", "newer there")
    machine.write("file11.txt", "new here")
    machine.write("file2.txt", "newer here")
    site.delete("file3.txt", "file8.txt")
    machine.delete("file4.txt", "file8.txt", "file6.txt")
    site.put("file5.txt", "changed there")
    machine.write("file5.txt", "changed here too")
    site.put("file6.txt", "newer there, deleted here")
    machine.write("file7.txt", "newer here, deleted there")
    site.delete("file7.txt")


def everything_is_right(site, machine):
    files = {path: body.decode() for path, body in machine.files().items()}
    copies = machine.copies("file5.")
    assert len(copies) == 1 and copies[0].endswith(".txt"), files
    assert {files["file5.txt"], files.pop(copies[0])} == {"changed there", "changed here too"}
    del files["file5.txt"]
    assert files == {
        "file1.txt": "newer there", "file2.txt": "newer here", "file6.txt": "newer there, deleted here",
        "file7.txt": "newer here, deleted there", "file9.txt": "file 9\n", "file10.txt": "new there", "file11.txt": "new here",
    }
    site.must_be_alike()
