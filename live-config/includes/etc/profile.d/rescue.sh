# A word to whoever comes to the shell from the full-screen interface.
case "$(tty)" in
	/dev/tty2) printf 'A root shell. Alt+F1 goes back to Rescue, "rescue --help" lists its commands.\n' ;;
esac
