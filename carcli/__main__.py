from carcli.cli.app import main

main()
